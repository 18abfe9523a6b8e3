//! What of the edge a shell gets: nothing.

use crate::world::{WORKSPACE, World};
use rustix::io::{FdFlags, fcntl_setfd};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn the_environment_is_exactly_the_documented_one() {
    // Cargo's own variables are the marker: they are in this process.
    assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
    let world = World::new();
    let (_, mut client) = world.open().await;
    let environment = client.run("tr '\\0' '\\n' < /proc/$$/environ").await;
    let variables: BTreeSet<_> = environment.lines().collect();
    let home = world.directory();
    let home = home.to_str().unwrap();
    let expected = [
        "TERM=xterm-256color".to_owned(),
        "COLORTERM=truecolor".to_owned(),
        "LANG=C.UTF-8".to_owned(),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("HOME={home}"),
        format!("TMPDIR={home}/.tmp"),
        "SHELL=/bin/sh".to_owned(),
        "USER=coditect".to_owned(),
        format!("CODITECT_SESSION={WORKSPACE}"),
    ];
    assert_eq!(variables, expected.iter().map(String::as_str).collect());
}

#[tokio::test]
async fn no_descriptor_of_ours_is_inherited_not_even_one_left_open_on_exec() {
    let world = World::new();
    let secret = tempfile::NamedTempFile::new().unwrap();
    fcntl_setfd(secret.as_file(), FdFlags::empty()).unwrap();
    let (_, mut client) = world.open().await;
    let targets = client.run("for fd in /proc/$$/fd/*; do readlink $fd; done").await;
    let targets: BTreeSet<_> = targets.lines().collect();
    let terminal = client.run("tty").await;
    // dash keeps a copy of its terminal for job control.
    let allowed = [terminal.trim(), "/dev/tty"];
    assert!(!targets.is_empty());
    assert!(targets.iter().all(|target| allowed.contains(target)), "{targets:?}");
}

#[tokio::test]
async fn signals_are_at_their_defaults() {
    let world = World::new();
    let (_, mut client) = world.open().await;
    let masks = client.run("sed -n 's/^Sig[BI][lg][kn]:.//p' /proc/self/status").await;
    let masks: Vec<u64> = masks.lines().map(|mask| u64::from_str_radix(mask, 16).unwrap()).collect();
    // The standard signals, 1 to 31; what is above is the C library's and the test runner's business.
    let standard: Vec<u64> = masks.iter().map(|mask| mask & 0x7fff_ffff).collect();
    assert_eq!(standard, [0, 0], "blocked, ignored: {masks:x?}");
}

#[tokio::test]
async fn the_shell_leads_a_session_of_its_own_on_its_own_terminal() {
    let world = World::new();
    let (_, mut client) = world.open().await;
    let stat = client.run("cat /proc/$$/stat").await;
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    let pid = stat.split(' ').next().unwrap();
    assert_eq!((fields[2], fields[3]), (pid, pid), "process group and session of {stat}");
    assert_ne!(fields[4], "0", "no controlling terminal: {stat}");
}

#[tokio::test]
async fn it_starts_in_the_private_directory_of_its_workspace() {
    let world = World::new();
    let (_, mut client) = world.open().await;
    assert_eq!(client.run("pwd").await.trim(), world.directory().to_str().unwrap());
    let mode = std::fs::metadata(world.directory()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    client.run("echo kept > note").await;
    assert_eq!(std::fs::read_to_string(world.directory().join("note")).unwrap(), "kept\n");
    assert_eq!(client.run("umask").await, "0022\n");
}
