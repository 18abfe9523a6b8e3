//! Flow control of gRPC streams: who is slow slows the other side down, and nothing grows.

use super::super::frames::{Decoder, encode};
use super::grpc::{begin, end, next};
use super::http2::Upstream;
use super::{Recorder, Stream, Told, World, soon, source, streaming, until};
use bytes::Bytes;
use coditect_config::UpstreamProtocol;
use coditect_proxy_wasm::{CallRefused, GrpcHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::{mpsc, watch};

/// Messages of this many bytes.
const SIZE: usize = 1000;

#[tokio::test]
async fn a_slow_upstream_is_not_buffered_for_without_bound() {
    let (release, released) = watch::channel(false);
    let upstream = Upstream::start(move |mut received| {
        let mut released = released.clone();
        async move {
            let mut stream = begin(&mut received);
            released.wait_for(|released| *released).await.unwrap();
            let mut decoder = Decoder::new(SIZE);
            let mut count = 0u32;
            while let Some(message) = next(&mut received, &mut decoder).await {
                assert_eq!(message[..4], count.to_be_bytes());
                count += 1;
            }
            stream.send_data(encode(&count.to_be_bytes()).unwrap(), false).unwrap();
            end(&mut stream, "0");
        }
    })
    .await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let mut stream = world.grpc(&streaming()).unwrap();
    assert!(matches!(stream.next().await, Some(Told::Initial(_))));
    let mut sent = 0u32;
    let message = |n: u32| Bytes::from([&n.to_be_bytes()[..], &[0; SIZE - 4]].concat());
    // The stream's window, then the queue; the queue's room comes and goes until the window is full.
    let mut busy = 0;
    while busy < 50 {
        match stream.handle().send(message(sent), false) {
            Ok(()) => (sent, busy) = (sent + 1, 0),
            Err(refused) => {
                assert_eq!(refused, CallRefused::Busy);
                busy += 1;
                tokio::task::yield_now().await;
            }
        }
        assert!(sent < 1000, "it takes everything");
    }
    assert!(sent > 256, "it takes what the window and the queue hold: {sent}");
    // The queue, and the message that is being sent.
    assert!(world.budget().held() <= 257 * SIZE);
    release.send_replace(true);
    stream.handle().close_local();
    assert_eq!(stream.message().await, sent.to_be_bytes()[..], "all that was taken has come, in order");
    assert_eq!(stream.close().await.0, 0);
    assert_eq!(world.budget().held(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_guest_slows_the_upstream_down() {
    const MESSAGES: usize = 500;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let upstream = Upstream::start(move |mut received| {
        let sent = Arc::clone(&counted);
        async move {
            let mut stream = begin(&mut received);
            for _ in 0..MESSAGES {
                let frame = encode(&[0; SIZE]).unwrap();
                super::super::body::send(&mut stream, frame, false).await.unwrap();
                sent.fetch_add(1, Ordering::SeqCst);
            }
            end(&mut stream, "0");
        }
    })
    .await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let (events, told) = mpsc::unbounded_channel();
    let (release, gate) = std::sync::mpsc::channel();
    let wanted = Arc::new(AtomicBool::new(true));
    let gate = Some(std::sync::Mutex::new(gate));
    let sink = Recorder { events, wanted: Arc::clone(&wanted), gate };
    let handle: Box<dyn GrpcHandle> = world.callouts.grpc_call(&source(), &streaming(), sink).unwrap();
    let mut stream = Stream { handle: Some(handle), told, wanted };
    assert!(matches!(stream.next().await, Some(Told::Initial(_))));
    assert_eq!(stream.message().await.len(), SIZE);
    // While the guest is in its callback, the upstream comes to the window's end (and its own buffer's) and no further.
    until("the window's end", || sent.load(Ordering::SeqCst) > 60).await;
    let most = (64 * 1024) / SIZE + 64 * 1024 / SIZE;
    for received in 1..MESSAGES {
        assert!(sent.load(Ordering::SeqCst) <= received + 2 * most, "after {received}");
        release.send(()).unwrap();
        assert_eq!(stream.message().await.len(), SIZE);
    }
    release.send(()).unwrap();
    assert_eq!(soon("the end", stream.close()).await.0, 0);
}

#[tokio::test]
async fn a_flood_of_small_messages_leaves_others_their_turn() {
    let upstream = Upstream::start(|mut received| async move {
        let mut stream = begin(&mut received);
        let flood = Bytes::from(encode(b"").unwrap().repeat(3000));
        while super::super::body::send(&mut stream, flood.clone(), false).await.is_ok() {}
    })
    .await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let mut stream = world.grpc(&streaming()).unwrap();
    assert!(matches!(stream.next().await, Some(Told::Initial(_))));
    // On a runtime with one thread: were the flood read in one go, this would never come to its turn.
    for _ in 0..100 {
        assert_eq!(stream.message().await.len(), 0);
        tokio::task::yield_now().await;
    }
    stream.handle().cancel();
    until("the stream's end", || world.target().http2.pool.load() == [0]).await;
    assert_eq!(world.ended("cancelled"), 1);
}
