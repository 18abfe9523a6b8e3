//! What one tenant's calls leave to another's.

use super::grpc::echo;
use super::http2::{Upstream, text};
use super::{SOON, Stream, Told, World, get, listen, soon, streaming, until};
use coditect_config::UpstreamProtocol;
use coditect_proxy_wasm::{CallRefused, HttpCall};
use h2::server::Builder;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

#[tokio::test]
async fn a_tenant_s_calls_are_refused_beyond_its_share() {
    let (_listener, address) = listen().await;
    let world = World::new(address, UpstreamProtocol::Http1);
    let mut calls = Vec::new();
    let refused = loop {
        match world.http_of("greedy", get("/")) {
            Ok(call) => calls.push(call),
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused, calls.len()), (CallRefused::Busy, 256));
    let other = world.http_of("other", get("/")).unwrap();
    for call in calls.iter().chain([&other]) {
        call.wanted.store(false, Ordering::Release);
    }
    until("the calls' end", || world.tasks() == 0).await;
    assert!(world.http_of("greedy", get("/")).is_ok(), "places are given back");
}

/// An upstream that takes `streams` on each connection.
fn narrow(streams: u32) -> Builder {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(streams);
    builder
}

#[tokio::test]
async fn streams_that_stay_open_leave_places_to_others() {
    let upstream = Upstream::with(narrow(1), echo).await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let mut first = world.grpc_of("greedy", &streaming()).unwrap();
    assert!(matches!(first.next().await, Some(Told::Initial(_))));
    until("the settings", || world.target().http2.pool.max_streams() == Some(1)).await;
    let streams: Vec<Stream> = (0..100).map(|_| world.grpc_of("greedy", &streaming()).unwrap()).collect();
    until("the streams' places", || world.target().http2.pool.load().iter().sum::<usize>() >= 4).await;
    for tenant in ["a", "b"] {
        let stream = world.grpc_of(tenant, &streaming()).unwrap();
        stream.handle().send("mine".into(), true).unwrap();
        assert_eq!(soon("its answer", stream.close()).await.0, 0, "{tenant}");
    }
    assert_eq!(world.target().http2.pool.waiting(), 97, "the greedy one's others wait");
    drop(streams);
    until("those that gave up to be forgotten", || {
        drop(world.grpc_of("a", &streaming()).unwrap());
        world.target().http2.pool.waiting() <= 1
    })
    .await;
}

#[tokio::test]
async fn tenants_that_wait_take_turns() {
    let served = Arc::new(Mutex::new(Vec::new()));
    let (release, released) = watch::channel(false);
    let noted = Arc::clone(&served);
    let upstream = Upstream::with(narrow(1), move |received| {
        let (noted, mut released) = (Arc::clone(&noted), released.clone());
        async move {
            noted.lock().unwrap().push(received.head.uri.path().to_owned());
            released.wait_for(|released| *released).await.unwrap();
            text(received).await;
        }
    })
    .await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let call = |tenant: &str| {
        let call = HttpCall { timeout: SOON, ..get(&format!("/{tenant}")) };
        world.http_of(tenant, call).unwrap()
    };
    // Eight places, of which nobody takes the last ones: three tenants have all that they can get.
    let mut calls = vec![call("first")];
    until("the settings", || world.target().http2.pool.max_streams() == Some(1)).await;
    calls.extend((0..60).map(|_| call("first")));
    let count = |n: usize| until_served(&served, n);
    count(4).await;
    calls.extend((0..60).map(|_| call("second")));
    count(6).await;
    until("all to wait", || world.target().http2.pool.waiting() == 121 - 6).await;
    calls.push(call("third"));
    calls.extend((0..2).map(|_| call("fourth")));
    count(8).await;
    release.send_replace(true);
    for call in calls {
        call.answer().await.unwrap();
    }
    let order = served.lock().unwrap();
    let last = order.iter().rposition(|path| path == "/fourth").unwrap();
    assert!(last < 24, "the last of a tenant's two calls was the {last}th of {}: {order:?}", order.len());
    assert!(upstream.connections.load(Ordering::SeqCst) <= 8);
}

async fn until_served(served: &Mutex<Vec<String>>, count: usize) {
    until("requests at the upstream", || served.lock().unwrap().len() == count).await;
}
