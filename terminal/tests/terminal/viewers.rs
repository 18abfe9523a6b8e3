//! Sockets: several at once, slow ones, hostile ones, and ones whose sign-in ends.

use crate::client::Client;
use crate::world::{ALICE, World, login};
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn two_viewers_see_the_same_and_both_may_type() {
    let world = World::new();
    let (terminal, mut one) = world.open().await;
    let mut two = world.attach(&terminal).await;
    one.input("echo from-$((1))\n").await;
    for client in [&mut one, &mut two] {
        client.until("from-1\r\n").await;
    }
    two.input("echo from-$((2))\n").await;
    for client in [&mut one, &mut two] {
        client.until("from-2\r\n").await;
    }
}

#[tokio::test]
async fn a_late_viewer_gets_what_is_kept() {
    let world = World::new();
    let (terminal, mut early) = world.open().await;
    early.input("echo before-$((1))\n").await;
    early.until("before-1\r\n").await;
    drop(early);
    let mut late = world.attach(&terminal).await;
    late.until("before-1\r\n").await;
    late.run("true").await;
}

#[tokio::test]
async fn the_position_in_hello_counts_what_is_no_longer_kept() {
    let world = World::with(|config| config.scrollback_bytes = 4096, |_| {});
    let (terminal, mut early) = world.open().await;
    early.run("seq 1 10000").await;
    let mut late = world.attach(&terminal).await;
    let seq = late.control("hello").await["seq"].as_u64().unwrap();
    assert!(seq > 40_000, "{seq}");
    let first = late.until("\r\n").await;
    assert!(first.trim().parse::<u32>().is_ok(), "not the beginning of a line: {first:?}");
}

/// Output that no window and no log of these tests holds.
const FLOOD: &str = "seq 1 200000";

#[tokio::test]
async fn a_viewer_that_acknowledges_nothing_is_paused_and_stalls_nobody() {
    let world = World::new();
    let (terminal, mut mute) = world.open().await;
    mute.acknowledges = false;
    let mut other = world.attach(&terminal).await;
    let reading = async {
        // Everything it is sent is far less than what there is.
        mute.until("\n15000\r\n").await;
        while timeout(Duration::from_millis(500), mute.step()).await.is_ok() {}
        mute
    };
    let (mut mute, output) = tokio::join!(reading, other.run(FLOOD));
    assert!(output.ends_with("\n200000\n"), "{}", output.len());
    assert!(!mute.output.windows(6).any(|window| window == b"200000"));
    mute.acknowledges = true;
    mute.say(json!({"type": "ack", "bytes": 1_000_000})).await;
    let lost = mute.control("lost").await["bytes"].as_u64().unwrap();
    assert!(lost > 500_000, "{lost}");
    mute.until("\n200000\r\n").await;
}

#[tokio::test]
async fn a_viewer_that_reads_nothing_stalls_nobody_and_is_dropped() {
    let world = World::with(|_| {}, |timings| timings.viewer_write = Duration::from_millis(200));
    let terminal = world.create().await;
    let stuck = world.attach(&terminal).await;
    let mut other = world.attach(&terminal).await;
    assert!(other.run(FLOOD).await.ends_with("\n200000\n"));
    timeout(Duration::from_secs(5), stuck.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_lone_viewer_that_reads_nothing_does_not_stop_the_shell() {
    let world = World::with(|_| {}, |timings| timings.output_stall = Duration::from_millis(100));
    let (_, mut client) = world.open().await;
    client.acknowledges = false;
    client.input(&format!("{FLOOD}; echo done > done\n")).await;
    let done = world.directory().join("done");
    crate::world::eventually("the shell went on", || done.exists()).await;
}

async fn expect_signed_out(mut client: Client, reason: &str) {
    let begun = Instant::now();
    assert_eq!(client.close().await, (4001, reason.to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    timeout(Duration::from_secs(2), client.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_revoked_sign_in_closes_its_sockets_only_and_keeps_the_terminal() {
    let world = World::new();
    let (terminal, client) = world.open().await;
    let mut other = world.attach_as(login(ALICE, 2), &terminal).await;
    world.families.revoke(login(ALICE, 1));
    expect_signed_out(client, "signed out").await;
    assert_eq!(other.run("echo alive").await, "alive\n");
}

#[tokio::test]
async fn an_expired_sign_in_closes_its_sockets() {
    let world = World::new();
    let terminal = world.create().await;
    // One second of it is left when the socket opens.
    world.clock.advance(999);
    let mut client = world.attach(&terminal).await;
    client.control("hello").await;
    world.clock.advance(1);
    assert_eq!(client.close().await, (4001, "expired".to_owned()));
}

#[tokio::test]
async fn a_revoked_sign_in_ends_a_socket_that_reads_nothing() {
    let world = World::new();
    let terminal = world.create().await;
    let mut client = world.attach(&terminal).await;
    client.input(&format!("{FLOOD}\n")).await;
    // The wire is full and the server waits for it.
    let wire_full = timeout(Duration::from_millis(300), std::future::pending::<()>()).await;
    assert!(wire_full.is_err() && !client.server.is_finished());
    world.families.revoke(login(ALICE, 1));
    timeout(Duration::from_secs(2), client.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn messages_outside_the_protocol_close_the_socket() {
    let world = World::new();
    let terminal = world.create().await;
    let huge = Message::binary(vec![b'x'; 1024 * 1024 + 1]);
    let cases = [
        (Message::text("{"), 1007),
        (Message::text(r#"{"type":"resize","cols":0,"rows":1}"#), 1007),
        (Message::text(r#"{"type":"paste"}"#), 1003),
        (huge, 1009),
    ];
    for (message, code) in cases {
        let mut client = world.attach(&terminal).await;
        client.control("hello").await;
        // A server that refuses the message by its head does not read the rest of it.
        timeout(Duration::from_secs(1), futures::SinkExt::send(&mut client.socket, message)).await.ok();
        assert_eq!(client.close().await.0, code);
        timeout(Duration::from_secs(5), client.server).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn frames_against_rfc_6455_close_the_socket() {
    let world = World::new();
    let terminal = world.create().await;
    // Unmasked text; a reserved opcode, masked.
    for frame in [&b"\x81\x02hi"[..], &b"\x83\x80\x00\x00\x00\x00"[..]] {
        let mut client = world.attach(&terminal).await;
        client.control("hello").await;
        client.socket.get_mut().write_all(frame).await.unwrap();
        assert_eq!(client.close().await.0, 1002);
    }
}

#[tokio::test]
async fn a_client_that_says_goodbye_is_answered_and_its_terminal_stays() {
    let world = World::new();
    let (terminal, mut client) = world.open().await;
    client.socket.close(None).await.unwrap();
    while client.step().await {}
    timeout(Duration::from_secs(5), client.server).await.unwrap().unwrap();
    let mut again = world.attach(&terminal).await;
    assert_eq!(again.run("echo here").await, "here\n");
}

#[tokio::test]
async fn a_quiet_client_is_pinged_and_one_that_does_not_answer_is_dropped() {
    let world = World::with(
        |_| {},
        |timings| {
            timings.ping_every = Duration::from_millis(50);
            timings.viewer_silence = Duration::from_millis(400);
        },
    );
    let (terminal, mut quiet) = world.open().await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1000) {
        quiet.step().await;
    }
    assert!(quiet.pings > 5, "{}", quiet.pings);
    assert_eq!(quiet.run("echo still here").await, "still here\n");
    let dead = world.attach(&terminal).await;
    timeout(Duration::from_secs(5), dead.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn input_nobody_reads_is_discarded_with_a_word() {
    let world = World::with(|_| {}, |timings| timings.input_stall = Duration::from_millis(100));
    let (terminal, mut client) = world.open().await;
    client.input("stty raw -echo; echo go-$((1)); sleep 1000\n").await;
    client.until("go-1").await;
    client.input(&"x".repeat(600 * 1024)).await;
    assert_eq!(client.control("error").await["code"], "INPUT_STALLED");
    assert_eq!(world.call("DELETE", &format!("/{terminal}"), "").await.0, 200);
}

#[tokio::test]
async fn a_socket_cut_without_a_word_frees_its_place() {
    let world = World::new();
    let (_, client) = world.open().await;
    let Client { socket, server, .. } = client;
    drop(socket);
    timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
}
