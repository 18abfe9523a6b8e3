//! How terminals end, and that nothing of them is left.

use crate::world::{TENANT, WORKSPACE, World, eventually, is_gone};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn the_exit_code_is_told_and_kept() {
    let world = World::new();
    let (terminal, mut client) = world.open().await;
    client.input("echo last $((1)) words; exit 7\n").await;
    assert_eq!(client.control("exit").await, json!({"type": "exit", "code": 7, "signal": null}));
    assert!(String::from_utf8_lossy(&client.output).contains("last 1 words\r\n"));
    assert_eq!(client.close().await, (1000, "the program ended".to_owned()));
    let (_, list) = world.call("GET", "", "").await;
    assert_eq!((&list["data"][0]["status"], &list["data"][0]["exit_code"]), (&json!("exited"), &json!(7)));
    let mut late = world.attach(&terminal).await;
    late.until("last 1 words\r\n").await;
    assert_eq!(late.control("exit").await["code"], 7);
    assert_eq!(late.close().await.0, 1000);
}

#[tokio::test]
async fn a_signal_is_told_by_name() {
    let world = World::new();
    let (_, mut client) = world.open().await;
    client.input("kill -KILL $$\n").await;
    let exit = json!({"type": "exit", "code": null, "signal": "SIGKILL"});
    assert_eq!(client.control("exit").await, exit);
}

#[tokio::test]
async fn delete_ends_the_shell_and_what_it_runs_and_reaps_it() {
    let world = World::new();
    let (terminal, mut client) = world.open().await;
    let shell = client.run("echo $$").await;
    client.input("sleep 1000 & echo child $!.\n").await;
    client.until("child ").await;
    let child = client.until(".\r\n").await;
    client.input("sleep 1000\n").await;
    let (status, body) = world.call("DELETE", &format!("/{terminal}"), "").await;
    assert_eq!((status, &body["data"]), (200, &json!({})));
    assert!(is_gone(shell.trim()));
    eventually("the child is gone", || is_gone(child.trim_end_matches(".\r\n"))).await;
    assert_eq!(client.control("exit").await["code"], Value::Null);
    assert_eq!(client.close().await.0, 1000);
    assert_eq!(world.call("GET", "", "").await.1["data"], json!([]));
    assert_eq!(world.call("DELETE", &format!("/{terminal}"), "").await.0, 404);
}

#[tokio::test]
async fn a_shell_that_ignores_the_hangup_is_killed() {
    let world = World::with(|_| {}, |timings| timings.hangup_grace = Duration::from_millis(100));
    let (terminal, mut client) = world.open().await;
    let shell = client.run("trap '' HUP TERM; echo $$").await;
    assert_eq!(world.call("DELETE", &format!("/{terminal}"), "").await.0, 200);
    assert!(is_gone(shell.trim()));
    assert_eq!(client.control("exit").await["signal"], "SIGKILL");
}

#[tokio::test]
async fn jobs_left_behind_end_with_the_shell_even_under_nohup() {
    let world = World::with(
        |config| config.shell = "/bin/bash".into(),
        |timings| timings.hangup_grace = Duration::from_millis(100),
    );
    let (_, mut client) = world.open().await;
    client.input("nohup sleep 1000 2>/dev/null & echo child $!.\n").await;
    client.until("\nchild ").await;
    let child = client.until(".\r\n").await;
    let child = child.trim_end_matches(".\r\n");
    assert!(!is_gone(child));
    client.input("exit 0\n").await;
    assert_eq!(client.control("exit").await["code"], 0);
    eventually("the job is gone", || is_gone(child)).await;
}

#[tokio::test]
async fn a_kept_terminal_is_collected() {
    let world = World::with(|config| config.idle_after_exit_seconds = 0, |_| {});
    let (_, mut client) = world.open().await;
    client.input("exit\n").await;
    assert_eq!(client.close().await.0, 1000);
    eventually("it is collected", || world.service.terminals() == 0).await;
}

#[tokio::test]
async fn a_deleted_workspace_takes_its_terminals_along() {
    let world = World::new();
    let (_, mut client) = world.open().await;
    assert_eq!(world.service.close_session(TENANT, WORKSPACE), 1);
    assert_eq!(client.close().await.0, 1000);
    eventually("it is removed", || world.service.terminals() == 0).await;
}

#[tokio::test]
async fn shutdown_closes_sockets_with_1012_and_leaves_no_process() {
    let world = World::new();
    let (terminal, mut client) = world.open().await;
    let shell = client.run("trap '' HUP; echo $$").await;
    let begun = Instant::now();
    let within = Duration::from_secs(2);
    let report = tokio::join!(world.service.shutdown(within), async {
        assert_eq!(client.close().await, (1012, "the server stops".to_owned()));
    })
    .0;
    assert!(begun.elapsed() < within, "{:?}", begun.elapsed());
    assert_eq!((report.terminals, report.left), (1, 0));
    assert!(is_gone(shell.trim()));
    assert_eq!(world.call("POST", "", "").await.0, 503);
    assert_eq!(world.call("DELETE", &format!("/{terminal}"), "").await.0, 503);
}

#[tokio::test]
async fn a_shell_that_floods_with_nobody_watching_keeps_no_thread_to_itself() {
    let world = World::new();
    let (terminal, mut client) = world.open().await;
    client.input("yes\n").await;
    client.until("y\r\ny\r\n").await;
    drop(client);
    // One thread for everything here: a driver that did not yield would never let this be answered.
    assert_eq!(world.call("GET", "", "").await.1["data"][0]["status"], "running");
    assert_eq!(world.call("DELETE", &format!("/{terminal}"), "").await.0, 200);
}

#[tokio::test]
async fn a_shell_that_closes_its_terminal_can_open_it_again() {
    let world = World::new();
    let (_, mut client) = world.open().await;
    client.run("true").await;
    client.input("exec </dev/null >/dev/null 2>&1; sleep 1; echo back-$((1)) >/dev/tty; sleep 1000\n").await;
    client.until("back-1").await;
}
