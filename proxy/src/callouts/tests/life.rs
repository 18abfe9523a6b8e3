//! How long gRPC streams live.

use super::super::life::{MAX_IDLE, MAX_LIFE};
use super::grpc::echo;
use super::http2::Upstream;
use super::{Stream, Told, World, pass, streaming, until};
use coditect_config::UpstreamProtocol;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

async fn begin(world: &World) -> Stream {
    let mut stream = world.grpc(&streaming()).unwrap();
    assert!(matches!(stream.next().await, Some(Told::Initial(_))));
    stream
}

#[tokio::test]
async fn a_stream_without_messages_ends() {
    let upstream = Upstream::start(echo).await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let mut stream = begin(&world).await;
    for _ in 0..3 {
        pass(MAX_IDLE - SECOND).await;
        stream.handle().send("x".into(), false).unwrap();
        assert_eq!(stream.message().await, "x", "it lives on");
    }
    pass(MAX_IDLE + SECOND).await;
    let (status, message) = stream.close().await;
    assert_eq!((status, message.as_str()), (4, "a stream ends after 300 s without a message"));
    until("its place", || world.target().http2.pool.load() == [0]).await;
    assert_eq!((world.ended("timeout"), world.budget().held()), (1, 0));
}

#[tokio::test]
async fn a_stream_with_messages_ends_too() {
    let upstream = Upstream::start(echo).await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let mut stream = begin(&world).await;
    let step = Duration::from_secs(200);
    for _ in 0..(MAX_LIFE - step).as_secs() / step.as_secs() {
        pass(step).await;
        stream.handle().send("x".into(), false).unwrap();
        assert_eq!(stream.message().await, "x", "it lives on");
    }
    pass(step + SECOND).await;
    let (status, message) = stream.close().await;
    assert_eq!((status, message.as_str()), (4, "a stream ends after 3600 s: begin it anew"));
    // The connection is whole.
    let mut stream = begin(&world).await;
    stream.handle().send("x".into(), false).unwrap();
    assert_eq!(stream.message().await, "x");
    assert_eq!(world.target().http2.pool.load(), [1]);
}
