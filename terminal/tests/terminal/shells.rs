//! What a person at a terminal sees.

use crate::world::World;
use serde_json::json;

#[tokio::test]
async fn a_command_runs_and_prints() {
    let world = World::new();
    let (_, mut client) = world.open().await;
    client.input("echo $((6*7))\n").await;
    client.until("42\r\n").await;
}

#[tokio::test]
async fn it_is_a_terminal_of_the_size_asked_for() {
    let world = World::new();
    let (status, body) = world.call("POST", "", r#"{"cols":132,"rows":43}"#).await;
    assert_eq!((status, &body["data"]["cols"], &body["data"]["rows"]), (201, &json!(132), &json!(43)));
    let mut client = world.attach(body["data"]["id"].as_str().unwrap()).await;
    let hello = client.control("hello").await;
    assert_eq!(hello, json!({"type": "hello", "v": 1, "cols": 132, "rows": 43, "seq": 0}));
    assert_eq!(client.run("stty size").await, "43 132\n");
    assert_eq!(client.run("test -t 0 && echo tty").await, "tty\n");
}

#[tokio::test]
async fn a_resize_by_any_way_reaches_the_shell_and_every_viewer() {
    let world = World::new();
    let (terminal, mut one) = world.open().await;
    let mut two = world.attach(&terminal).await;
    two.control("hello").await;
    one.say(json!({"type": "resize", "cols": 100, "rows": 30})).await;
    for client in [&mut one, &mut two] {
        assert_eq!(client.control("resized").await, json!({"type": "resized", "cols": 100, "rows": 30}));
    }
    assert_eq!(one.run("stty size").await, "30 100\n");
    let (status, body) = world.call("POST", &format!("/{terminal}/resize"), r#"{"cols":90,"rows":20}"#).await;
    assert_eq!((status, &body["data"]["cols"]), (200, &json!(90)));
    one.control("resized").await;
    assert_eq!(one.run("stty size").await, "20 90\n");
}

#[tokio::test]
async fn interactive_programs_work_under_job_control() {
    let world = World::with(|config| config.shell = "/bin/bash".into(), |_| {});
    let (_, mut client) = world.open().await;
    client.input("PS1='re''ady> '\n").await;
    client.until("ready> ").await;
    client.input("tr a-z A-Z\n").await;
    client.input("shouted\n").await;
    client.until("SHOUTED\r\n").await;
    client.input("\x03").await;
    // What is typed before the interrupt has taken effect is discarded with it.
    client.until("ready> ").await;
    client.input("echo code-$?\n").await;
    client.until("code-130").await;
    client.input("sh -c 'echo on-$((1)); exec sleep 1000'\n").await;
    client.until("on-1").await;
    client.input("\x1a").await;
    client.until("Stopped").await;
}

#[tokio::test]
async fn a_long_paste_arrives_whole() {
    let world = World::new();
    let (_, mut client) = world.open().await;
    client.run("stty -echo").await;
    client.input("sha256sum\n").await;
    let line = "x".repeat(99) + "\n";
    client.input(&line.repeat(8000)).await;
    client.input("\x04").await;
    // sha256 of that, as `yes $(printf 'x%.0s' $(seq 99)) | head -8000 | sha256sum` prints it.
    client.until("9ed7e023c5e145b2c0e9c7e21485042f5cae016de0ee7b4a2f56981abe17fcaf").await;
}

#[tokio::test]
async fn a_burst_reaches_a_viewer_that_keeps_up_without_a_gap() {
    let world = World::with(|config| config.scrollback_bytes = 16 * 1024, |_| {});
    let (_, mut client) = world.open().await;
    let output = client.run("seq 1 100000").await;
    let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(output.len(), expected.len());
    assert_eq!(output, expected);
    assert!(client.controls.iter().all(|message| message["type"] != "lost"), "{:?}", client.controls);
}

/// Between fork and exec, `portable-pty` allocates; an allocator whose lock another thread held at the fork would hang
/// there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shells_start_while_other_threads_allocate() {
    let world = World::with(|config| (config.max_per_session, config.max_total) = (64, 64), |_| {});
    let stop = std::sync::atomic::AtomicBool::new(false);
    let busy = || {
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let blocks: Vec<Vec<u8>> = (0..64).map(|size| Vec::with_capacity(size * 1024 + 1)).collect();
            std::thread::spawn(move || drop(blocks)).join().unwrap();
        }
    };
    let started = async {
        let started = futures::future::join_all((0..64).map(|_| world.create())).await;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        started
    };
    let started = std::thread::scope(|scope| {
        scope.spawn(busy);
        scope.spawn(busy);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(started))
    });
    let mut last = world.attach(&started[63]).await;
    assert_eq!(last.run("echo ready").await, "ready\n");
    let report = world.service.shutdown(std::time::Duration::from_secs(15)).await;
    assert_eq!((report.terminals, report.left), (64, 0));
}
