//! Root contexts' callbacks: ticks, queues, answers to calls out.

use bytes::Bytes;
use wasmtime::TypedFunc;

use super::{Guest, Instance};
use crate::budget::Budget;
use crate::calls::{CallFailure, HttpCallResponse, Pairs};
use crate::error::Trap;
use crate::mailbox::Event;
use crate::schedule::nanoseconds;
use crate::state::{Phase, ROOT_CONTEXT, Received};

/// A tick is followed by a rest of at least so many times what it took.
const TICK_REST: u64 = 20;

/// The status of an HTTP call that failed, as the reference host has it: the text says why.
const NO_ANSWER: u32 = 14;

impl Instance {
    /// Tells the guest of an event. One that nobody waits for any longer is nothing.
    pub(crate) fn handle(&mut self, event: Event) -> Result<(), Box<Trap>> {
        match event {
            Event::Tick { generation } => self.on_tick(generation),
            Event::QueueReady { token } => match &self.callbacks.queue_ready {
                Some(callback) => {
                    let call = self.guest.callback(Phase::Event, ROOT_CONTEXT);
                    self.guest.call("proxy_on_queue_ready", call, callback, (ROOT_CONTEXT, token))
                }
                None => Ok(()),
            },
            Event::HttpResponse { token, response } => self.on_http_response(token, response),
            Event::GrpcInitialMetadata { token, metadata } => {
                let size = count(&metadata);
                let received = Received { initial_metadata: Some(metadata), ..Received::default() };
                let callback = &self.callbacks.grpc_initial_metadata;
                let name = "proxy_on_grpc_receive_initial_metadata";
                on_grpc(&mut self.guest, name, callback.as_ref(), token, size, received)
            }
            Event::GrpcMessage { token, message } => self.on_grpc_message(token, message),
            Event::GrpcTrailingMetadata { token, metadata } => {
                let size = count(&metadata);
                let received = Received { trailing_metadata: Some(metadata), ..Received::default() };
                let callback = &self.callbacks.grpc_trailing_metadata;
                let name = "proxy_on_grpc_receive_trailing_metadata";
                on_grpc(&mut self.guest, name, callback.as_ref(), token, size, received)
            }
            Event::GrpcClose { token, status, message } => self.on_grpc_close(token, status, message),
        }
    }

    fn on_tick(&mut self, generation: u64) -> Result<(), Box<Trap>> {
        let root = &self.guest.store.data().root;
        if root.tick_generation != generation || root.tick.is_none() {
            return Ok(());
        }
        let began = self.guest.store.data().scope.plugin.environment.monotonic_nanoseconds();
        if let Some(callback) = &self.callbacks.tick {
            let call = self.guest.callback(Phase::Event, ROOT_CONTEXT);
            self.guest.call("proxy_on_tick", call, callback, ROOT_CONTEXT)?;
        }
        let state = self.guest.store.data_mut();
        if let Some(period) = state.root.tick.filter(|_| state.root.tick_generation == generation) {
            let now = state.scope.plugin.environment.monotonic_nanoseconds();
            // Its share of the driver's thread: ticks that take long come less often.
            let rest = now.saturating_sub(began).saturating_mul(TICK_REST);
            let due = now.saturating_add(nanoseconds(period).max(rest));
            let before = state.root.next_tick.take();
            state.root.next_tick =
                Some(state.mailbox.schedule().tick(due, &state.mailbox, generation, before));
        }
        Ok(())
    }

    fn on_http_response(
        &mut self,
        token: u32,
        response: Result<HttpCallResponse, CallFailure>,
    ) -> Result<(), Box<Trap>> {
        let state = self.guest.store.data_mut();
        let root = &mut state.root;
        if root.http.remove(&token).is_none() {
            return Ok(());
        }
        let response = match response {
            Ok(response) => {
                root.status = (0, Vec::new());
                response
            }
            Err(failure) => {
                if failure == CallFailure::TooLarge {
                    state.scope.plugin.crossed(Budget::CallBodyBytes);
                }
                root.status = (NO_ANSWER, failure.to_string().into_bytes());
                without_answer(failure)
            }
        };
        let arguments = (
            ROOT_CONTEXT,
            token,
            count(&response.headers),
            u32::try_from(response.body.len()).unwrap_or(u32::MAX),
            count(&response.trailers),
        );
        root.received = Received { http: Some(response), ..Received::default() };
        let result = match &self.callbacks.http_call_response {
            Some(callback) => {
                let call = self.guest.callback(Phase::Event, ROOT_CONTEXT);
                self.guest.call("proxy_on_http_call_response", call, callback, arguments)
            }
            None => Ok(()),
        };
        forget_received(&mut self.guest);
        result
    }

    fn on_grpc_message(&mut self, token: u32, message: Bytes) -> Result<(), Box<Trap>> {
        let size = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let received = Received { message, ..Received::default() };
        let callback = self.callbacks.grpc_message.as_ref();
        // A unary call has one answer, and no end is told after it, as in the reference host.
        let unary = self.guest.store.data().root.grpc.get(&token).is_some_and(|call| call.unary);
        let result = on_grpc(&mut self.guest, "proxy_on_grpc_receive", callback, token, size, received);
        if unary {
            self.guest.store.data_mut().root.grpc.remove(&token);
        }
        result
    }

    fn on_grpc_close(&mut self, token: u32, status: i32, message: String) -> Result<(), Box<Trap>> {
        let root = &mut self.guest.store.data_mut().root;
        if root.grpc.remove(&token).is_none() {
            return Ok(());
        }
        let status = status.cast_unsigned();
        root.status = (status, message.into_bytes());
        let result = match &self.callbacks.grpc_close {
            Some(callback) => {
                let call = self.guest.callback(Phase::Event, ROOT_CONTEXT);
                self.guest.call("proxy_on_grpc_close", call, callback, (ROOT_CONTEXT, token, status))
            }
            None => Ok(()),
        };
        forget_received(&mut self.guest);
        result
    }
}

/// What a guest gets for a call without an answer: the response that Envoy's own client makes up, since filters look
/// at its status. Only one that was too large is nothing at all.
fn without_answer(failure: CallFailure) -> HttpCallResponse {
    let status = match failure {
        CallFailure::Timeout => "504",
        CallFailure::Unreachable | CallFailure::Reset => "503",
        CallFailure::TooLarge => return HttpCallResponse::default(),
    };
    let body = failure.to_string();
    let length = body.len().to_string();
    let headers = [(":status", status), ("content-length", &*length), ("content-type", "text/plain")];
    let headers = headers.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    HttpCallResponse { headers: headers.to_vec(), body: body.into(), trailers: Vec::new() }
}

fn on_grpc(
    guest: &mut Guest,
    name: &'static str,
    callback: Option<&TypedFunc<(u32, u32, u32), ()>>,
    token: u32,
    size: u32,
    received: Received,
) -> Result<(), Box<Trap>> {
    let root = &mut guest.store.data_mut().root;
    let (Some(callback), true) = (callback, root.grpc.contains_key(&token)) else { return Ok(()) };
    root.status = (0, Vec::new());
    root.received = received;
    let call = guest.callback(Phase::Event, ROOT_CONTEXT);
    let result = guest.call(name, call, callback, (ROOT_CONTEXT, token, size));
    forget_received(guest);
    result
}

fn forget_received(guest: &mut Guest) {
    let root = &mut guest.store.data_mut().root;
    root.received = Received::default();
    root.status = (0, Vec::new());
}

fn count(pairs: &Pairs) -> u32 {
    u32::try_from(pairs.len()).unwrap_or(u32::MAX)
}
