//! Calls of a plugin that wait for their answer, and how each is answered.

use crate::suite::{CallAnswer, GrpcAnswer, Pairs, Response};
use bytes::Bytes;
use coditect_proxy_wasm::{CallFailure, CallRefused, GrpcEvents, GrpcHandle, HttpCallResponse, HttpReply};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The most that a gRPC stream may send, in bytes.
const MAX_SENT_BYTES: usize = 16 * 1024 * 1024;
/// gRPC's `DEADLINE_EXCEEDED`.
const DEADLINE_EXCEEDED: i32 = 4;
/// gRPC's `INTERNAL`.
const INTERNAL: i32 = 13;
/// gRPC's `UNAVAILABLE`.
const UNAVAILABLE: i32 = 14;

/// One call that a plugin made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeCall {
    /// Whom it called.
    pub upstream: String,
    /// Whether by gRPC; then `:path` is `/service/method`.
    pub grpc: bool,
    /// What it sent, pseudo-headers first; of a gRPC call its metadata.
    pub headers: Pairs,
    /// And the body; of a gRPC call its messages.
    pub body: Vec<u8>,
    /// And what came after it.
    pub trailers: Pairs,
    /// The place in the script of what it was answered; none where the script has no answer left.
    pub scripted: Option<usize>,
}

/// A call that was not answered yet.
pub(crate) struct Waiting {
    pub(crate) back: Back,
    pub(crate) answer: CallAnswer,
    /// When it gives up.
    pub(crate) timeout: Duration,
}

/// Where the answer goes.
pub(crate) enum Back {
    Http(HttpReply),
    /// One message there and one back.
    Unary(GrpcEvents),
    Stream(GrpcEvents),
}

impl Waiting {
    /// Whether the answer is that it gives up.
    pub(crate) fn times_out(&self) -> bool {
        self.answer == CallAnswer::Fails(CallFailure::Timeout)
    }

    /// Runs the plugin's callbacks with the answer, on this thread.
    pub(crate) fn answer(self) {
        match (self.back, self.answer) {
            (Back::Http(reply), CallAnswer::Response(response)) => reply.send(Ok(answered(response))),
            (Back::Http(reply), CallAnswer::Fails(failure)) => reply.send(Err(failure)),
            // The comparison tells that the script's answer is of the other kind.
            (Back::Http(reply), CallAnswer::Grpc(_)) => reply.send(Err(CallFailure::Reset)),
            (Back::Unary(events), CallAnswer::Grpc(answer)) => unary(events, answer),
            (Back::Stream(events), CallAnswer::Grpc(answer)) => stream(events, answer),
            (Back::Unary(events) | Back::Stream(events), CallAnswer::Fails(failure)) => {
                let status = if failure == CallFailure::Timeout { DEADLINE_EXCEEDED } else { UNAVAILABLE };
                events.close(status, failure.to_string());
            }
            (Back::Unary(events) | Back::Stream(events), CallAnswer::Response(_)) => {
                events.close(INTERNAL, String::new());
            }
        }
    }
}

fn answered(response: Response) -> HttpCallResponse {
    let mut headers: Pairs = vec![(b":status".to_vec(), response.status.to_string().into_bytes())];
    headers.extend(response.headers.0);
    HttpCallResponse { headers, body: Bytes::from(response.chunks.concat()), trailers: response.trailers.0 }
}

/// A unary call has one message, or fails.
fn unary(events: GrpcEvents, answer: GrpcAnswer) {
    if answer.status == 0 {
        events.message(answer.messages.into_iter().next().unwrap_or_default());
    }
    events.close(answer.status, answer.message);
}

fn stream(events: GrpcEvents, answer: GrpcAnswer) {
    let mut initial: Pairs = vec![(b":status".to_vec(), b"200".to_vec())];
    initial.extend(answer.initial.0);
    events.initial_metadata(initial);
    for message in answer.messages {
        events.message(message);
    }
    events.trailing_metadata(answer.trailing.0);
    events.close(answer.status, answer.message);
}

/// What a gRPC stream sent, one message after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent(Arc<Mutex<Vec<u8>>>);

impl Sent {
    /// All of it so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl GrpcHandle for Sent {
    fn send(&self, message: Bytes, _end_stream: bool) -> Result<(), CallRefused> {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() + message.len() > MAX_SENT_BYTES {
            return Err(CallRefused::Busy);
        }
        sent.extend_from_slice(&message);
        Ok(())
    }

    fn close_local(&self) {}

    fn cancel(&self) {}
}
