//! Calls against upstreams on the loopback interface that behave, and that do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod grpc;
mod grpc_ends;
mod grpc_flow;
mod hostile;
mod http1;
mod http2;
mod life;
mod many;
mod tenants;

use super::sink::{GrpcSink, HttpSink};
use super::{Budget, Callouts, Inner, Target, Tasks};
use crate::metrics::Metrics;
use arc_swap::ArcSwap;
use bytes::Bytes;
use coditect_config::{UpstreamConfig, UpstreamProtocol};
use coditect_proxy_wasm::{
    CallFailure, CallRefused, CallSource, GrpcCall, GrpcHandle, HttpCall, HttpCallResponse, Pairs,
};
use prometheus::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long a test waits for what must happen.
pub(super) const SOON: Duration = Duration::from_secs(20);
/// A call's own deadline, where it must pass.
pub(super) const SHORT: Duration = Duration::from_millis(60);
/// The upstream's name.
const NAME: &str = "keys";

/// Calls to one upstream.
pub(super) struct World {
    pub(super) callouts: Callouts,
    pub(super) registry: Registry,
}

impl World {
    pub(super) fn new(address: SocketAddr, protocol: UpstreamProtocol) -> Self {
        Self::with(address, protocol, Budget::default(), Duration::from_secs(60))
    }

    pub(super) fn with(
        address: SocketAddr,
        protocol: UpstreamProtocol,
        budget: Budget,
        keepalive: Duration,
    ) -> Self {
        let registry = Registry::new();
        let inner = Inner {
            targets: ArcSwap::default(),
            budget: Arc::new(budget),
            metrics: Metrics::new(&registry).unwrap(),
            tasks: Tasks::new(Handle::current()),
        };
        let callouts = Callouts { inner: Arc::new(inner) };
        callouts.offer(&[upstream(address, protocol, keepalive)]).take();
        Self { callouts, registry }
    }

    pub(super) fn http(&self, call: HttpCall) -> Result<Waiting, CallRefused> {
        self.http_of("public", call)
    }

    pub(super) fn http_of(&self, tenant: &str, call: HttpCall) -> Result<Waiting, CallRefused> {
        let (answer, waiting) = oneshot::channel();
        let wanted = Arc::new(AtomicBool::new(true));
        let sink = Answer { answer, wanted: Arc::clone(&wanted) };
        self.callouts.http_call(&of(tenant), call, sink)?;
        Ok(Waiting { answer: waiting, wanted })
    }

    /// Makes a call and waits for its answer.
    pub(super) async fn answer(&self, call: HttpCall) -> Result<HttpCallResponse, CallFailure> {
        self.http(call).unwrap().answer().await
    }

    pub(super) fn grpc(&self, call: &GrpcCall) -> Result<Stream, CallRefused> {
        self.grpc_of("public", call)
    }

    pub(super) fn grpc_of(&self, tenant: &str, call: &GrpcCall) -> Result<Stream, CallRefused> {
        let (events, told) = mpsc::unbounded_channel();
        let wanted = Arc::new(AtomicBool::new(true));
        let sink = Recorder { events, wanted: Arc::clone(&wanted), gate: None };
        let handle = self.callouts.grpc_call(&of(tenant), call, sink)?;
        Ok(Stream { handle: Some(handle), told, wanted })
    }

    pub(super) fn target(&self) -> Arc<Target> {
        Arc::clone(self.callouts.inner.targets.load().get(NAME).unwrap())
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.callouts.inner.budget
    }

    /// Tasks of calls and connections.
    pub(super) fn tasks(&self) -> usize {
        self.callouts.inner.tasks.running()
    }

    /// Calls that ended so.
    pub(super) fn ended(&self, outcome: &str) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == "coditect_plugin_calls_out_total");
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        let has = |m: &&prometheus::proto::Metric| m.get_label().iter().any(|label| label.value() == outcome);
        let ended: f64 = metrics.iter().filter(has).map(|metric| metric.get_counter().get_value()).sum();
        ended as u64
    }
}

pub(super) fn upstream(
    address: SocketAddr,
    protocol: UpstreamProtocol,
    keepalive: Duration,
) -> UpstreamConfig {
    UpstreamConfig {
        name: NAME.into(),
        host: address.ip().to_string(),
        port: address.port(),
        protocol,
        connect_timeout: SOON,
        response_timeout: SOON,
        keepalive,
        calls_per_tenant: 256,
    }
}

fn source() -> CallSource {
    of("public")
}

/// A call for this tenant.
pub(super) fn of(tenant: &str) -> CallSource {
    CallSource { plugin: "policy".into(), owner: "".into(), tenant: tenant.into(), request_id: None }
}

pub(super) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Waits for what must happen.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.unwrap_or_else(|_| panic!("did not happen in {SOON:?}: {what}"))
}

/// Time passes at once; sockets are as slow as ever. On a runtime with one thread.
pub(super) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Waits until `condition` holds.
pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub(super) fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// The value of the pair with this name.
pub(super) fn value<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a str> {
    let found = pairs.iter().find(|(given, _)| given == name.as_bytes());
    found.map(|(_, value)| std::str::from_utf8(value).unwrap())
}

pub(super) fn get(path: &str) -> HttpCall {
    HttpCall {
        upstream: NAME.into(),
        headers: pairs(&[(":method", "GET"), (":path", path), (":authority", "keys.example")]),
        body: Vec::new(),
        trailers: Pairs::new(),
        timeout: SOON,
        most: 1024,
    }
}

pub(super) fn post(path: &str, body: impl Into<Vec<u8>>, trailers: &[(&str, &str)]) -> HttpCall {
    let headers = pairs(&[(":method", "POST"), (":path", path), (":authority", "keys.example")]);
    HttpCall { headers, body: body.into(), trailers: pairs(trailers), ..get(path) }
}

pub(super) fn unary(message: &'static [u8]) -> GrpcCall {
    GrpcCall {
        upstream: NAME.into(),
        service: "test.Keys".into(),
        method: "Find".into(),
        metadata: Pairs::new(),
        message: Some(Bytes::from_static(message)),
        timeout: Some(SOON),
        most: 1024,
    }
}

pub(super) fn streaming() -> GrpcCall {
    GrpcCall { message: None, timeout: None, ..unary(b"") }
}

struct Answer {
    answer: oneshot::Sender<Result<HttpCallResponse, CallFailure>>,
    wanted: Arc<AtomicBool>,
}

impl HttpSink for Answer {
    fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    fn send(self, answer: Result<HttpCallResponse, CallFailure>) {
        drop(self.answer.send(answer));
    }
}

/// A call whose answer is waited for.
#[derive(Debug)]
pub(super) struct Waiting {
    answer: oneshot::Receiver<Result<HttpCallResponse, CallFailure>>,
    wanted: Arc<AtomicBool>,
}

impl Waiting {
    pub(super) async fn answer(self) -> Result<HttpCallResponse, CallFailure> {
        soon("an answer", self.answer).await.expect("the sink was dropped")
    }

    /// Nobody waits any more: true once the call has gone, false where it was answered.
    pub(super) async fn leave(self) -> bool {
        self.wanted.store(false, Ordering::Release);
        soon("the call's end", self.answer).await.is_err()
    }
}

/// What a guest is told of a gRPC call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Initial(Pairs),
    Message(Bytes),
    Trailing(Pairs),
    Close(i32, String),
}

pub(super) struct Recorder {
    pub(super) events: mpsc::UnboundedSender<Told>,
    pub(super) wanted: Arc<AtomicBool>,
    /// A message's callback ends once something comes out of it.
    pub(super) gate: Option<std::sync::Mutex<std::sync::mpsc::Receiver<()>>>,
}

impl GrpcSink for Recorder {
    fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    fn initial_metadata(&self, metadata: Pairs) {
        drop(self.events.send(Told::Initial(metadata)));
    }

    fn message(&self, message: Bytes) {
        drop(self.events.send(Told::Message(message)));
        if let Some(gate) = &self.gate {
            gate.lock().unwrap().recv_timeout(SOON).unwrap();
        }
    }

    fn trailing_metadata(&self, metadata: Pairs) {
        drop(self.events.send(Told::Trailing(metadata)));
    }

    fn close(self, status: i32, message: String) {
        drop(self.events.send(Told::Close(status, message)));
    }
}

/// The guest's side of a gRPC call.
pub(super) struct Stream {
    pub(super) handle: Option<Box<dyn GrpcHandle>>,
    pub(super) told: mpsc::UnboundedReceiver<Told>,
    pub(super) wanted: Arc<AtomicBool>,
}

impl Stream {
    pub(super) fn handle(&self) -> &dyn GrpcHandle {
        self.handle.as_deref().unwrap()
    }

    /// What is told next; `None` once nothing can follow.
    pub(super) async fn next(&mut self) -> Option<Told> {
        soon("an event", self.told.recv()).await
    }

    pub(super) async fn message(&mut self) -> Bytes {
        match self.next().await {
            Some(Told::Message(message)) => message,
            other => panic!("no message but {other:?}"),
        }
    }

    /// All that is told from here on.
    pub(super) async fn rest(mut self) -> Vec<Told> {
        let mut all = Vec::new();
        while let Some(told) = self.next().await {
            all.push(told);
        }
        all
    }

    /// The end, after whatever was told before.
    pub(super) async fn close(self) -> (i32, String) {
        match self.rest().await.pop() {
            Some(Told::Close(status, message)) => (status, message),
            other => panic!("no end but {other:?}"),
        }
    }
}
