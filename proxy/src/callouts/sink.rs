//! Who is told of a call's answer: the guest that called, or a test.
//!
//! Each method that tells something runs the guest's callback on the calling thread, for as long as its CPU budget
//! allows: no lock is held, and nothing of the call's own is borrowed, while one is called.

use bytes::Bytes;
use coditect_proxy_wasm::{CallFailure, GrpcEvents, HttpCallResponse, HttpReply, Pairs};
use std::time::Duration;
use tokio::time::sleep;

/// How soon it is noticed that nobody waits for a call any more.
const WANTED_CHECK: Duration = Duration::from_millis(100);

/// Takes the answer to an HTTP call.
pub(crate) trait HttpSink: Send + Sync + 'static {
    /// Whether anybody still waits.
    fn is_wanted(&self) -> bool;
    /// The answer.
    fn send(self, answer: Result<HttpCallResponse, CallFailure>);
}

/// Takes what happens to a gRPC call, in order.
pub(crate) trait GrpcSink: Send + Sync + 'static {
    /// Whether anybody still waits.
    fn is_wanted(&self) -> bool;
    /// The response's headers.
    fn initial_metadata(&self, metadata: Pairs);
    /// A message, without its frame.
    fn message(&self, message: Bytes);
    /// The response's trailers.
    fn trailing_metadata(&self, metadata: Pairs);
    /// The end, with gRPC's status. Nothing follows.
    fn close(self, status: i32, message: String);
}

impl HttpSink for HttpReply {
    fn is_wanted(&self) -> bool {
        Self::is_wanted(self)
    }

    fn send(self, answer: Result<HttpCallResponse, CallFailure>) {
        Self::send(self, answer);
    }
}

impl GrpcSink for GrpcEvents {
    fn is_wanted(&self) -> bool {
        Self::is_wanted(self)
    }

    fn initial_metadata(&self, metadata: Pairs) {
        Self::initial_metadata(self, metadata);
    }

    fn message(&self, message: Bytes) {
        Self::message(self, message);
    }

    fn trailing_metadata(&self, metadata: Pairs) {
        Self::trailing_metadata(self, metadata);
    }

    fn close(self, status: i32, message: String) {
        Self::close(self, status, message);
    }
}

/// Resolves once nobody waits, at most [`WANTED_CHECK`] late.
pub(super) async fn unwanted(is_wanted: impl Fn() -> bool) {
    while is_wanted() {
        sleep(WANTED_CHECK).await;
    }
}
