//! What a shell of the real edge can reach: the system, read-only, and its own workspace. Nothing of the edge's, and
//! nothing of another workspace.

use crate::support::config::Config;
use crate::support::edge::Edge;
use crate::support::ws;

/// Opens a terminal, runs `command` and gives what stands between two marks in its output.
async fn run(edge: &Edge, command: &str) -> String {
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "one").await;
    let other = edge.create_session(&ada, "two").await;
    std::fs::create_dir_all(edge.data().path().join("workspaces").join(&ada.tenant_id).join(&other)).unwrap();
    let target = format!("{}?token={}", edge.create_terminal(&ada, &workspace).await, ada.token);
    let mut terminal =
        ws::open(edge.http, &target, &[("origin", &edge.origin())]).await.expect("the terminal");
    // The marks are not in the command's echo, where they stand with quotes inside.
    let line = format!("echo BEG''IN; {{ {command}; }} 2>&1; echo E''ND\n");
    terminal.send_bytes(line.as_bytes()).await;
    let output = terminal.output_with("END\r\n").await;
    let begun = output.split("BEGIN\r\n").nth(1).expect("the command ran");
    begun.split("END\r\n").next().unwrap_or_default().replace("\r\n", "\n")
}

#[tokio::test]
async fn a_shell_reads_neither_the_key_nor_the_store_nor_another_workspace() {
    let edge = Edge::start(&Config::standard("127.0.0.1:1".parse().unwrap())).await;
    let data = edge.data();
    let data = data.path().display();
    let pid = edge.pid().as_raw_nonzero();
    let probes = [
        format!("cat {data}/signing.key"),
        format!("cat {data}/store.redb"),
        format!("cat {data}/edge.toml"),
        format!("ls {data}/workspaces"),
        "ls ..".to_owned(),
        "ls /tmp".to_owned(),
        "ls /root".to_owned(),
        "touch /usr/bin/x".to_owned(),
        format!("cat /proc/{pid}/environ"),
        format!("ls /proc/{pid}/root/"),
        format!("kill -TERM {pid}"),
    ];
    // Each probe tells whether it succeeded, whatever it printed.
    let command: Vec<_> =
        probes.iter().map(|probe| format!("{probe} > /dev/null 2>&1 && echo yes || echo no")).collect();
    let output = run(&edge, &command.join("; ")).await;
    let answers: Vec<_> = output.lines().collect();
    assert_eq!(answers.len(), probes.len(), "{output}");
    for (probe, answer) in probes.iter().zip(answers) {
        assert_eq!(answer, "no", "{probe}");
    }
    assert_eq!(edge.get("/health").await.status, 200, "the edge was not signalled");
}

#[tokio::test]
async fn a_shell_cannot_open_the_terminal_of_another() {
    let edge = Edge::start(&Config::standard("127.0.0.1:1".parse().unwrap())).await;
    let eve = edge.register("eve@example.com").await;
    let theirs = edge.create_session(&eve, "theirs").await;
    let target = format!("{}?token={}", edge.create_terminal(&eve, &theirs).await, eve.token);
    let mut victim = ws::open(edge.http, &target, &[("origin", &edge.origin())]).await.expect("the terminal");
    victim.send_bytes(b"echo at''=$(tty)=E''ND\n").await;
    let output = victim.output_with("=END\r\n").await;
    let tty =
        output.split("at=").nth(1).and_then(|rest| rest.split('=').next()).expect("its name").to_owned();
    assert!(tty.starts_with("/dev/pts/"), "{tty}");

    let probe = format!(
        "echo x > {tty} && echo wrote; head -c 1 < {tty} && echo read; echo own > $(tty) && test -t 0 && echo works"
    );
    let output = run(&edge, &probe).await;
    assert!(!output.contains("wrote") && !output.contains("read"), "{output}");
    assert!(output.contains("own") && output.contains("works"), "{output}");
}

#[tokio::test]
async fn a_shell_works_in_its_workspace_and_runs_the_systems_programs_without_privileges() {
    let edge = Edge::start(&Config::standard("127.0.0.1:1".parse().unwrap())).await;
    let output = run(
        &edge,
        "echo kept > file && cat file; cat $(mktemp) && echo temporary; grep CapPrm /proc/self/status; ulimit -c; \
         bash -c 'cat <<< nested'; echo gone > /dev/null",
    )
    .await;
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines, ["kept", "temporary", "CapPrm:\t0000000000000000", "0", "nested"]);
}
