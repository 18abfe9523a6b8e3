//! Calls out: what a guest asks for, and what the embedder answers with.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::mailbox::{Event, Mailbox};

/// A header map of a call, pseudo-headers first.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSource {
    /// The plugin.
    pub plugin: Arc<str>,
    /// [`PluginConfig::owner`](crate::PluginConfig).
    pub owner: Arc<str>,
    /// Whose instance.
    pub tenant: Arc<str>,
    /// The request for which it calls; none for a root context's own call.
    pub request_id: Option<String>,
}

/// The embedder does not begin that call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallRefused {
    /// No upstream has that name; the guest is answered `BAD_ARGUMENT`.
    UnknownUpstream,
    /// No room for another call; the guest is answered `INTERNAL_FAILURE`.
    Busy,
}

/// An HTTP call out (`proxy_http_call`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCall {
    /// The upstream's name.
    pub upstream: String,
    /// Checked as all headers are. Among them are `:method`, `:path` and `:authority`.
    pub headers: Pairs,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Pairs,
    /// When to give up.
    pub timeout: Duration,
    /// The most of the response's body, in bytes. A longer one is a failed call ([`CallFailure::TooLarge`]).
    pub most: usize,
}

/// The answer to an HTTP call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpCallResponse {
    /// With `:status` first.
    pub headers: Pairs,
    /// The whole body.
    pub body: Bytes,
    /// The trailers.
    pub trailers: Pairs,
}

/// Why a call has no answer. The guest is told of a response all the same, as in Envoy: 504 for a timeout, 503 for
/// what could not be reached or broke off; no headers and no body for an answer that was too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// Not in time.
    #[error("the call timed out")]
    Timeout,
    /// No connection.
    #[error("the upstream could not be reached")]
    Unreachable,
    /// More than [`HttpCall::most`].
    #[error("the answer was too large")]
    TooLarge,
    /// The connection broke, or what came was no HTTP.
    #[error("the upstream broke off")]
    Reset,
}

/// Takes the answer to one HTTP call. Dropped unused, the call has failed ([`CallFailure::Reset`]).
pub struct HttpReply(Option<(Arc<Mailbox>, u32)>);

impl HttpReply {
    pub(crate) fn new(mailbox: Arc<Mailbox>, token: u32) -> Self {
        Self(Some((mailbox, token)))
    }

    /// Whether anybody still waits for it: the instance lives.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.0.as_ref().is_some_and(|(mailbox, _)| mailbox.is_open())
    }

    /// Runs the guest's callback with the answer, on this thread, which may wait for another callback of the instance
    /// (each is bounded by its CPU budget). Not to be called from within [`Environment::http_call`](crate::Environment::http_call).
    pub fn send(mut self, response: Result<HttpCallResponse, CallFailure>) {
        if let Some((mailbox, token)) = self.0.take() {
            mailbox.deliver(Event::HttpResponse { token, response });
        }
    }
}

impl Drop for HttpReply {
    fn drop(&mut self) {
        if let Some((mailbox, token)) = self.0.take() {
            // Not here: whoever drops it may be inside that very guest.
            mailbox.unanswered(token, Event::HttpResponse { token, response: Err(CallFailure::Reset) });
        }
    }
}

/// A gRPC call out: one message there and back (`proxy_grpc_call`), or a stream of both (`proxy_grpc_stream`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcCall {
    /// The upstream's name.
    pub upstream: String,
    /// As `package.Service`.
    pub service: String,
    /// As `Method`.
    pub method: String,
    /// Checked as all headers are.
    pub metadata: Pairs,
    /// The only message of a unary call; `None` begins a stream.
    pub message: Option<Bytes>,
    /// When to give up; a stream has none.
    pub timeout: Option<Duration>,
    /// The most of one received message, in bytes.
    pub most: usize,
}

/// Takes what happens to one gRPC call, in order. Each method runs the guest's callback on this thread. Dropped
/// without [`close`](Self::close), the call has ended with status 14, `UNAVAILABLE`.
pub struct GrpcEvents(Option<(Arc<Mailbox>, u32)>);

/// gRPC's `UNAVAILABLE`.
pub(crate) const UNAVAILABLE: i32 = 14;

impl GrpcEvents {
    pub(crate) fn new(mailbox: Arc<Mailbox>, token: u32) -> Self {
        Self(Some((mailbox, token)))
    }

    /// Whether anybody still waits for it: the instance lives.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.0.as_ref().is_some_and(|(mailbox, _)| mailbox.is_open())
    }

    /// The response's metadata.
    pub fn initial_metadata(&self, metadata: Pairs) {
        self.deliver(|token| Event::GrpcInitialMetadata { token, metadata });
    }

    /// A message, without its frame.
    pub fn message(&self, message: Bytes) {
        self.deliver(|token| Event::GrpcMessage { token, message });
    }

    /// The metadata after the last message.
    pub fn trailing_metadata(&self, metadata: Pairs) {
        self.deliver(|token| Event::GrpcTrailingMetadata { token, metadata });
    }

    /// The end, with gRPC's status.
    pub fn close(mut self, status: i32, message: String) {
        if let Some((mailbox, token)) = self.0.take() {
            mailbox.deliver(Event::GrpcClose { token, status, message });
        }
    }

    fn deliver(&self, event: impl FnOnce(u32) -> Event) {
        if let Some((mailbox, token)) = &self.0 {
            mailbox.deliver(event(*token));
        }
    }
}

impl Drop for GrpcEvents {
    fn drop(&mut self) {
        if let Some((mailbox, token)) = self.0.take() {
            mailbox
                .unanswered(token, Event::GrpcClose { token, status: UNAVAILABLE, message: String::new() });
        }
    }
}

/// The embedder's end of a gRPC call. Dropping it cancels the call.
pub trait GrpcHandle: Send + Sync {
    /// Sends a message, and ends the sending side with it if asked to.
    ///
    /// # Errors
    /// No room for another message: the upstream does not take them as fast as the guest makes them.
    fn send(&self, message: Bytes, end_stream: bool) -> Result<(), CallRefused>;

    /// Ends the sending side.
    fn close_local(&self);

    /// Gives the call up.
    fn cancel(&self);
}
