//! `proxy_grpc_call`, `proxy_grpc_stream` and what is done to a call under way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::Linker;

use super::{Allowed, calls, export, headers};
use crate::abi::Status;
use crate::budget::Budget;
use crate::calls::{GrpcCall, GrpcEvents, UNAVAILABLE};
use crate::mailbox::Event;
use crate::state::{Answer, ByteBudget, Caller, GrpcUnderWay, HostState, Root};
use crate::{field, memory};

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let callbacks = Allowed::Callbacks;
    export!(
        linker, "proxy_grpc_call", callbacks, call,
        (upstream: u32, upstream_size: u32, service: u32, service_size: u32, method: u32, method_size: u32,
         metadata: u32, metadata_size: u32, message: u32, message_size: u32, timeout: u32, return_token: u32)
    );
    export!(
        linker, "proxy_grpc_stream", callbacks, stream,
        (upstream: u32, upstream_size: u32, service: u32, service_size: u32, method: u32, method_size: u32,
         metadata: u32, metadata_size: u32, return_token: u32)
    );
    export!(
        linker, "proxy_grpc_send", callbacks, send,
        (token: u32, message: u32, message_size: u32, end_stream: u32)
    );
    export!(linker, "proxy_grpc_cancel", callbacks, cancel, (token: u32));
    export!(linker, "proxy_grpc_close", callbacks, close, (token: u32));
    Ok(())
}

/// Where the parts of a call are in the guest's memory.
struct Parts {
    upstream: (u32, u32),
    service: (u32, u32),
    method: (u32, u32),
    metadata: (u32, u32),
}

#[expect(clippy::too_many_arguments, reason = "the ABI's own")]
fn call(
    caller: &mut Caller<'_>,
    upstream: u32,
    upstream_size: u32,
    service: u32,
    service_size: u32,
    method: u32,
    method_size: u32,
    metadata: u32,
    metadata_size: u32,
    message: u32,
    message_size: u32,
    timeout: u32,
    return_token: u32,
) -> Answer {
    let parts = Parts {
        upstream: (upstream, upstream_size),
        service: (service, service_size),
        method: (method, method_size),
        metadata: (metadata, metadata_size),
    };
    let (guest, state) = memory::split(caller)?;
    let message = memory::slice(guest, message, message_size)?;
    check_size(state, message)?;
    let message = Bytes::copy_from_slice(message);
    begin(caller, &parts, Some((message, Duration::from_millis(timeout.into()))), return_token)
}

#[expect(clippy::too_many_arguments, reason = "the ABI's own")]
fn stream(
    caller: &mut Caller<'_>,
    upstream: u32,
    upstream_size: u32,
    service: u32,
    service_size: u32,
    method: u32,
    method_size: u32,
    metadata: u32,
    metadata_size: u32,
    return_token: u32,
) -> Answer {
    let parts = Parts {
        upstream: (upstream, upstream_size),
        service: (service, service_size),
        method: (method, method_size),
        metadata: (metadata, metadata_size),
    };
    begin(caller, &parts, None, return_token)
}

fn begin(
    caller: &mut Caller<'_>,
    parts: &Parts,
    unary: Option<(Bytes, Duration)>,
    return_token: u32,
) -> Answer {
    let (guest, state) = memory::split(caller)?;
    memory::slice(guest, return_token, 4)?;
    let upstream = memory::slice(guest, parts.upstream.0, parts.upstream.1)?;
    let service = name(memory::slice(guest, parts.service.0, parts.service.1)?)?;
    let method = name(memory::slice(guest, parts.method.0, parts.method.1)?)?;
    let metadata = memory::slice(guest, parts.metadata.0, parts.metadata.1)?;
    // The reference host cannot parse what names no cluster.
    let upstream = cluster_name(upstream).unwrap_or(upstream);
    let upstream = calls::allowed_upstream(state, upstream).map_err(|_| Status::ParseFailure)?;
    state.charge(ByteBudget::Header, metadata.len())?;
    let metadata = calls::owned(headers::checked_pairs(metadata, &mut state.names, field::is_name)?);
    let in_flight = calls::begin(state)?;
    let is_unary = unary.is_some();
    let (message, timeout) = unary.unzip();
    let most = state.scope.plugin.limits.call_body_bytes;
    let call = GrpcCall { upstream, service, method, metadata, message, timeout, most };
    let token = state.root.token();
    let events = GrpcEvents::new(Arc::clone(&state.mailbox), token);
    let environment = Arc::clone(&state.scope.plugin.environment);
    let source = state.source();
    let (handle, dropped) = state.mailbox.beginning(token, || environment.grpc_call(&source, call, events));
    let handle = handle.map_err(calls::refusal)?;
    if dropped {
        state.mailbox.post(Event::GrpcClose { token, status: UNAVAILABLE, message: String::new() });
    }
    state.root.grpc.insert(token, GrpcUnderWay { handle, unary: is_unary, _in_flight: in_flight });
    memory::give(caller, return_token, token.to_le_bytes())
}

/// A service's or method's name becomes part of a path.
fn name(bytes: &[u8]) -> Answer<String> {
    let sound = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let text =
        std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty() && text.bytes().all(|b| sound(&b)));
    Ok(text.ok_or(Status::BadArgument)?.to_owned())
}

/// The cluster named in a serialized `envoy.config.core.v3.GrpcService`: field 1 of its field 1. The SDKs' older
/// examples send that message, newer ones the bare name.
fn cluster_name(bytes: &[u8]) -> Option<&[u8]> {
    let envoy_grpc = first_field(bytes)?;
    first_field(envoy_grpc)
}

/// Field 1, of bytes and shorter than 128 bytes, where a message begins with it.
fn first_field(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [0x0a, length @ 0..0x80, rest @ ..] => rest.get(..usize::from(*length)),
        _ => None,
    }
}

fn check_size(state: &HostState, message: &[u8]) -> Answer {
    let plugin = &state.scope.plugin;
    if message.len() > plugin.limits.call_body_bytes {
        plugin.crossed(Budget::CallBodyBytes);
        return Err(Status::BadArgument.into());
    }
    Ok(())
}

/// A call that is over is `NOT_FOUND`, one that never was `BAD_ARGUMENT`.
fn missing(root: &Root, token: u32) -> Status {
    if token == 0 || token > root.last_token { Status::BadArgument } else { Status::NotFound }
}

/// Sends a message on a stream. A unary call's token is `BAD_ARGUMENT`.
fn send(caller: &mut Caller<'_>, token: u32, message: u32, message_size: u32, end_stream: u32) -> Answer {
    let (guest, state) = memory::split(caller)?;
    let message = memory::slice(guest, message, message_size)?;
    let call = state.root.grpc.get(&token).ok_or_else(|| missing(&state.root, token))?;
    if call.unary {
        return Err(Status::BadArgument.into());
    }
    check_size(state, message)?;
    let sent = call.handle.send(Bytes::copy_from_slice(message), end_stream != 0);
    Ok(sent.map_err(calls::refusal)?)
}

/// Gives a call up; nothing more is told of it.
fn cancel(caller: &mut Caller<'_>, token: u32) -> Answer {
    let root = &mut caller.data_mut().root;
    let call = root.grpc.remove(&token).ok_or_else(|| missing(root, token))?;
    call.handle.cancel();
    Ok(())
}

/// Ends a stream's sending side; its answers still come. A unary call is given up.
fn close(caller: &mut Caller<'_>, token: u32) -> Answer {
    let root = &mut caller.data_mut().root;
    let call = root.grpc.get(&token).ok_or_else(|| missing(root, token))?;
    if call.unary {
        call.handle.cancel();
        root.grpc.remove(&token);
    } else {
        call.handle.close_local();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_found_in_the_reference_host_s_message() {
        assert_eq!(cluster_name(b"\x0a\x06\x0a\x04grpc"), Some(&b"grpc"[..]));
        assert_eq!(cluster_name(b"\x0a\x06\x0a\x04grpc\x1a\x00"), Some(&b"grpc"[..]));
        for bad in [&b""[..], b"\x0a", b"\x0a\x7f\x0a\x04grpc", b"grpc", b"\x0a\x06\x0a\x09grpc"] {
            assert_eq!(cluster_name(bad), None, "{bad:?}");
        }
    }
}
