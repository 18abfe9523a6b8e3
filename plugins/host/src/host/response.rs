//! `proxy_send_local_response`.

use wasmtime::Linker;

use super::{Allowed, export, headers};
use crate::abi::Status;
use crate::error::TrapCause;
use crate::exchange::LocalResponse;
use crate::state::{Answer, ByteBudget, Caller, HostState, Phase};
use crate::{field, memory};

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    export!(
        linker, "proxy_send_local_response", Allowed::Callbacks, send,
        (status: u32, details: u32, details_size: u32, body: u32, body_size: u32, headers: u32, headers_size: u32,
         grpc_status: i32)
    );
    Ok(())
}

/// For the effective stream, from any callback but the first and the last three of its life; only the first of a stream counts, a later
/// one is answered OK and ignored, as in Envoy. Unlike Envoy, a status that is no final HTTP status is `BAD_ARGUMENT`,
/// and so is a call from `proxy_on_log`, where Envoy recurses until it crashes.
#[expect(clippy::too_many_arguments, reason = "the ABI's own")]
fn send(
    caller: &mut Caller<'_>,
    status: u32,
    details: u32,
    details_size: u32,
    body: u32,
    body_size: u32,
    headers: u32,
    headers_size: u32,
    grpc_status: i32,
) -> Answer {
    let (guest, state) = memory::split(caller)?;
    let details = memory::slice(guest, details, details_size)?;
    let body = memory::slice(guest, body, body_size)?;
    let pairs = memory::slice(guest, headers, headers_size)?;
    let status = u16::try_from(status).ok().filter(|status| (200..=599).contains(status));
    let outside = matches!(state.call.phase, Phase::StreamCreate | Phase::Log | Phase::Done | Phase::Delete);
    let outside = outside && state.call.own_context();
    let (Some(status), Some(_), false) = (status, &state.call.stream, outside) else {
        return Err(Status::BadArgument.into());
    };
    state.charge(ByteBudget::Header, pairs.len() + details.len())?;
    let limit = state.scope.plugin.limits.local_response_bytes;
    if body.len() > limit {
        return Err(TrapCause::Bytes { name: "local_response_bytes", limit }.into());
    }
    let pairs = headers::checked_pairs(pairs, &mut state.names, field::is_name)?;
    let response = LocalResponse {
        status,
        details: details.to_vec(),
        headers: pairs.into_iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
        body: body.to_vec(),
        grpc_status: u32::try_from(grpc_status).ok(),
    };
    state.respond(response)
}
