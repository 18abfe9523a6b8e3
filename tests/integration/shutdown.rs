//! The end of the process, and a new configuration without one.

use crate::support::{Answer, Config, Connection, DEADLINE, Edge, Request, Upstream, wait_for, ws};
use rustix::process::Signal;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// An upstream that holds `/slow` until told, echoes sockets, and answers anything else at once.
async fn slow_upstream() -> (Upstream, watch::Sender<bool>) {
    let (release, held) = watch::channel(false);
    let upstream = Upstream::start_async(move |request| {
        let mut held = held.clone();
        Box::pin(async move {
            match (request.header("upgrade"), request.target.as_str()) {
                (Some(_), _) => Answer::Echo,
                (None, "/slow") => {
                    drop(held.wait_for(|released| *released).await);
                    Answer::ok("slow but whole")
                }
                _ => Answer::ok("hello from upstream"),
            }
        })
    })
    .await;
    (upstream, release)
}

#[tokio::test]
async fn sigterm_drains_and_exits_with_0() {
    let (theia, release) = slow_upstream().await;
    let config = Config::standard(theia.address);
    let mut edge = Edge::start(&config).await;
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "engines").await;
    let socket = format!("/theia/{workspace}/services?token={}", ada.token);
    let mut socket = ws::open(edge.http, &socket, &[]).await.expect("the socket");
    let terminal = edge.create_terminal(&ada, &workspace).await;
    let terminal = format!("{terminal}?token={}", ada.token);
    let mut terminal = ws::open(edge.http, &terminal, &[]).await.expect("the terminal");
    let mut idle = Connection::open(edge.http).await;
    let health = Request::get("/api/v5/health");
    assert_eq!(idle.exchange(&health).await.status, 200);
    let mut slow = Connection::open(edge.http).await;
    slow.send(&Request::get(&format!("/theia/{workspace}/slow")).bearer(&ada.token)).await;
    theia.request("the slow request is under way", |request| request.target == "/slow").await;
    assert_eq!(edge.admin("/readyz").await.status, 200);

    edge.signal(Signal::TERM);
    wait_for("readiness fails", DEADLINE, async || (edge.admin("/readyz").await.status == 503).then_some(()))
        .await;
    assert_eq!(edge.admin("/livez").await.status, 200, "it lives on until it has drained");
    wait_for("nothing new is accepted", DEADLINE, async || TcpStream::connect(edge.http).await.err()).await;
    let (one, two) = tokio::join!(socket.closed(DEADLINE), terminal.closed(DEADLINE));
    assert_eq!((one, two), (Some(1012), Some(1012)), "sockets are told to come back");
    assert!(idle.rest().await.is_empty(), "an idle connection just ends");
    assert!(edge.is_running(), "a request is under way");

    release.send_replace(true);
    let answer = slow.response().await.expect("the slow request gets its answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "slow but whole"));
    assert_eq!(edge.exit(DEADLINE).await.code(), Some(0), "{}", edge.stderr());

    let lines = edge.access_log();
    assert!(
        lines.iter().any(|line| line["status"] == 200 && line["path"].as_str().unwrap().ends_with("/slow"))
    );
    let edge = Edge::start_on(edge.data(), &config).await;
    assert_eq!(
        edge.get_as(&ada, &format!("/api/v5/sessions/{workspace}")).await.status,
        200,
        "the store reopens"
    );
}

#[tokio::test]
async fn a_connection_that_never_said_anything_does_not_hold_a_drain() {
    let mut edge = Edge::start(&Config::standard("127.0.0.1:1".parse().unwrap())).await;
    let silent = TcpStream::connect(edge.http).await.unwrap();
    wait_for("the connection is accepted", DEADLINE, async || {
        (edge.metrics().await.sum("coditect_open_connections", &[]) >= 1.0).then_some(())
    })
    .await;
    let began = Instant::now();
    edge.signal(Signal::TERM);
    assert!(edge.exit(DEADLINE).await.success());
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "the drain's limit is 25 s; it took {:?}",
        began.elapsed()
    );
    drop(silent);
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_the_process() {
    let (theia, _release) = slow_upstream().await;
    let config = Config::empty()
        .upstream("theia", theia.address)
        .route("/", "upstream = 'theia'\nauth = 'public'")
        .server("drain_seconds = 1");
    let mut edge = Edge::start(&config).await;
    let mut slow = Connection::open(edge.http).await;
    slow.send(&Request::get("/slow")).await;
    theia.request("the slow request is under way", |request| request.target == "/slow").await;
    let began = Instant::now();
    edge.signal(Signal::TERM);
    assert_eq!(edge.exit(Duration::from_secs(10)).await.code(), Some(0), "{}", edge.stderr());
    assert!(began.elapsed() >= Duration::from_millis(900), "it had its time: {:?}", began.elapsed());
    assert!(edge.stderr().contains("cut off"), "and the log says that it was cut off");
}

#[tokio::test]
async fn a_reload_keeps_open_sockets_and_requests_under_way() {
    let (theia, release) = slow_upstream().await;
    let other = Upstream::start(|_| Answer::ok("the other upstream")).await;
    let config = Config::standard(theia.address);
    let edge = Edge::start(&config).await;
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "engines").await;
    let socket = format!("/theia/{workspace}/services?token={}", ada.token);
    let mut socket = ws::open(edge.http, &socket, &[]).await.expect("the socket");
    let mut slow = Connection::open(edge.http).await;
    slow.send(&Request::get(&format!("/theia/{workspace}/slow")).bearer(&ada.token)).await;
    theia.request("the slow request is under way", |request| request.target == "/slow").await;

    assert!(edge.reload(&config.clone().upstream("theia", other.address)).await);
    let page = format!("/theia/{workspace}/");
    assert_eq!(
        edge.get_as(&ada, &page).await.text(),
        "the other upstream",
        "new requests go by the new file"
    );
    socket.echo("the socket stays where it is").await;
    release.send_replace(true);
    assert_eq!(slow.response().await.expect("an answer").text(), "slow but whole");

    assert!(!edge.reload(&config.server("drain_secs = 1")).await, "an unknown key is refused");
    assert_eq!(edge.get_as(&ada, &page).await.text(), "the other upstream", "and changes nothing");
    socket.echo("nor does a refused one disturb it").await;
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_answered() {
    let theia = Upstream::echo().await;
    let config = Config::standard(theia.address);
    let mut edge = Edge::start(&config).await;
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "engines").await;
    edge.signal(Signal::KILL);
    assert_eq!(edge.exit(DEADLINE).await.code(), None);
    let edge = Edge::start_on(edge.data(), &config).await;
    assert_eq!(edge.get_as(&ada, &format!("/api/v5/sessions/{workspace}")).await.status, 200);
}

#[tokio::test]
async fn sigterm_does_not_wait_for_a_reload() {
    let theia = Upstream::echo().await;
    let config = Config::standard(theia.address);
    let mut edge = Edge::start(&config).await;
    // A plugin that takes for ever to be read.
    let pipe = edge.data().path().join("pipe.wasm");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    config.plugin_file("slow", &pipe, "").write(edge.data().path());
    edge.signal(Signal::HUP);
    let _writer = wait_for("the reload reads the plugin", DEADLINE, async || {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        // Nobody can be written to before somebody reads.
        std::fs::OpenOptions::new().write(true).custom_flags(nonblocking).open(&pipe).ok()
    })
    .await;
    edge.signal(Signal::TERM);
    let status = edge.exit(DEADLINE).await;
    assert_eq!(status.code(), Some(0), "{}", edge.stderr());
}
