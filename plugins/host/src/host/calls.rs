//! `proxy_http_call`.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Linker;

use super::{Allowed, export, headers};
use crate::abi::{HeaderMap, Status};
use crate::budget::Budget;
use crate::calls::{CallFailure, CallRefused, HttpCall, HttpReply, Pairs};
use crate::mailbox::Event;
use crate::scope::InFlight;
use crate::state::{Answer, ByteBudget, Caller, HostState};
use crate::{field, memory};

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    export!(
        linker, "proxy_http_call", Allowed::Callbacks, http_call,
        (upstream: u32, upstream_size: u32, pairs: u32, pairs_size: u32, body: u32, body_size: u32,
         trailers: u32, trailers_size: u32, timeout: u32, return_token: u32)
    );
    Ok(())
}

/// Without `:method`, `:path` and `:authority`, or to an upstream the plugin may not call, it is `BAD_ARGUMENT`, as in
/// Envoy; past a limit on calls `INTERNAL_FAILURE`. The answer goes to the root context's callback.
#[expect(clippy::too_many_arguments, reason = "the ABI's own")]
fn http_call(
    caller: &mut Caller<'_>,
    upstream: u32,
    upstream_size: u32,
    pairs: u32,
    pairs_size: u32,
    body: u32,
    body_size: u32,
    trailers: u32,
    trailers_size: u32,
    timeout: u32,
    return_token: u32,
) -> Answer {
    let (guest, state) = memory::split(caller)?;
    memory::slice(guest, return_token, 4)?;
    let upstream = memory::slice(guest, upstream, upstream_size)?;
    let pairs = memory::slice(guest, pairs, pairs_size)?;
    let body = memory::slice(guest, body, body_size)?;
    let trailers = memory::slice(guest, trailers, trailers_size)?;
    let upstream = allowed_upstream(state, upstream)?;
    let most = state.scope.plugin.limits.call_body_bytes;
    if body.len() > most {
        state.scope.plugin.crossed(Budget::CallBodyBytes);
        return Err(Status::BadArgument.into());
    }
    state.charge(ByteBudget::Header, pairs.len() + trailers.len())?;
    let is_name = |name: &[u8]| field::is_map_name(HeaderMap::Request, name);
    let pairs = owned(headers::checked_pairs(pairs, &mut state.names, is_name)?);
    for wanted in [&b":method"[..], b":path", b":authority"] {
        if !pairs.iter().any(|(name, value)| name == wanted && !value.is_empty()) {
            return Err(Status::BadArgument.into());
        }
    }
    let trailers = owned(headers::checked_pairs(trailers, &mut state.names, field::is_name)?);
    let in_flight = begin(state)?;
    let call = HttpCall {
        upstream,
        headers: pairs,
        body: body.to_vec(),
        trailers,
        timeout: Duration::from_millis(timeout.into()),
        most,
    };
    let token = state.root.token();
    let reply = HttpReply::new(Arc::clone(&state.mailbox), token);
    state.root.http.insert(token, in_flight);
    let environment = Arc::clone(&state.scope.plugin.environment);
    let source = state.source();
    let (begun, dropped) = state.mailbox.beginning(token, || environment.http_call(&source, call, reply));
    if let Err(refused) = begun {
        state.root.http.remove(&token);
        return Err(refusal(refused).into());
    }
    if dropped {
        state.mailbox.post(Event::HttpResponse { token, response: Err(CallFailure::Reset) });
    }
    memory::give(caller, return_token, token.to_le_bytes())
}

/// The upstream's name, where the plugin may call it.
pub(super) fn allowed_upstream(state: &HostState, name: &[u8]) -> Answer<String> {
    let allowed = state.scope.plugin.upstreams.iter().find(|allowed| allowed.as_bytes() == name);
    allowed.cloned().ok_or(Status::BadArgument.into())
}

/// Counts a call against its stream's limit and its tenant's. A stream's callback that makes the root context the
/// effective one calls for its own stream all the same.
pub(super) fn begin(state: &HostState) -> Answer<InFlight> {
    let limits = &state.scope.plugin.limits;
    if let Some(stream) = state.call.stream.as_ref().or_else(|| state.streams.get(&state.call.context)) {
        let mut inner = stream.lock();
        if inner.calls >= limits.calls_per_stream {
            state.scope.plugin.crossed(Budget::CallsPerStream);
            return Err(Status::InternalFailure.into());
        }
        inner.calls += 1;
    }
    InFlight::begin(&state.scope, limits.calls_in_flight).ok_or_else(|| {
        state.scope.plugin.crossed(Budget::CallsInFlight);
        Status::InternalFailure.into()
    })
}

pub(super) fn refusal(refused: CallRefused) -> Status {
    match refused {
        CallRefused::UnknownUpstream => Status::BadArgument,
        CallRefused::Busy => Status::InternalFailure,
    }
}

pub(super) fn owned(pairs: Vec<(&[u8], &[u8])>) -> Pairs {
    pairs.into_iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}
