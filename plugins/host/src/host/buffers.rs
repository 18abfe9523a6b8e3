//! The buffer calls and, for ABI 0.1.0, `proxy_get_configuration`.
//!
//! A body is there in its own callback and while it is held back there; elsewhere its buffer is OK and empty, as in
//! Envoy.

use std::sync::Arc;

use wasmtime::Linker;

use super::{Allowed, export};
use crate::abi::{AbiVersion, Direction, Status, buffer};
use crate::error::TrapCause;
use crate::memory;
use crate::scope::PluginFacts;
use crate::state::{Answer, Caller, HostState, Phase};

pub(super) fn link(linker: &mut Linker<HostState>, version: AbiVersion) -> wasmtime::Result<()> {
    let callbacks = Allowed::Callbacks;
    export!(
        linker, "proxy_get_buffer_bytes", callbacks, get,
        (buffer: u32, start: u32, max_size: u32, return_data: u32, return_size: u32)
    );
    export!(linker, "proxy_get_buffer_status", callbacks, status, (buffer: u32, return_size: u32, return_flags: u32));
    export!(
        linker, "proxy_set_buffer_bytes", callbacks, set,
        (buffer: u32, start: u32, size: u32, data: u32, data_size: u32)
    );
    if version == AbiVersion::V0_1_0 {
        export!(
            linker, "proxy_get_configuration", callbacks, get_configuration,
            (return_data: u32, return_size: u32)
        );
    }
    Ok(())
}

/// Whether the plugin configuration is there: while the root context is created and configured, as in Envoy.
fn configuring(state: &HostState) -> bool {
    matches!(state.call.phase, Phase::RootCreate | Phase::Configure)
}

/// The half whose body a buffer is.
fn body_of(number: u32) -> Option<Direction> {
    match number {
        buffer::HTTP_REQUEST_BODY => Some(Direction::Request),
        buffer::HTTP_RESPONSE_BODY => Some(Direction::Response),
        _ => None,
    }
}

/// Runs `act` on the content of a buffer in this callback.
fn with_content<R>(
    state: &HostState,
    plugin: &PluginFacts,
    number: u32,
    act: impl FnOnce(&[u8]) -> R,
) -> Result<R, Status> {
    if let Some(direction) = body_of(number) {
        let Some(stream) = &state.call.stream else { return Ok(act(&[])) };
        let mut inner = stream.lock();
        let leg = inner.leg(direction);
        return Ok(act(if leg.body_open { leg.body.as_slice() } else { &[] }));
    }
    Ok(act(match number {
        buffer::VM_CONFIGURATION => &plugin.vm_configuration,
        buffer::PLUGIN_CONFIGURATION if configuring(state) => &plugin.configuration,
        buffer::HTTP_CALL_RESPONSE_BODY => &state.root.received.http.as_ref().ok_or(Status::NotFound)?.body,
        buffer::PLUGIN_CONFIGURATION => return Err(Status::NotFound),
        buffer::GRPC_CALL_MESSAGE => &state.root.received.message,
        buffer::DOWNSTREAM_DATA | buffer::UPSTREAM_DATA | buffer::FOREIGN_FUNCTION_ARGUMENTS => &[],
        _ => return Err(Status::BadArgument),
    }))
}

/// A `max_size` past the end is cut to it, a `start` past the end gives nothing.
fn get(
    caller: &mut Caller<'_>,
    number: u32,
    start: u32,
    max_size: u32,
    return_data: u32,
    return_size: u32,
) -> Answer {
    let scope = Arc::clone(&caller.data().scope);
    let mut bytes = std::mem::take(&mut caller.data_mut().scratch);
    bytes.clear();
    let found = with_content(caller.data(), &scope.plugin, number, |content| {
        let rest = content.get(start as usize..).unwrap_or_default();
        bytes.extend_from_slice(rest.get(..max_size as usize).unwrap_or(rest));
    });
    let answer = match found {
        Ok(()) => memory::hand_over(caller, &bytes, return_data, return_size),
        Err(status) => Err(status.into()),
    };
    caller.data_mut().scratch = bytes;
    answer
}

fn status(caller: &mut Caller<'_>, number: u32, return_size: u32, return_flags: u32) -> Answer {
    let scope = Arc::clone(&caller.data().scope);
    let size = with_content(caller.data(), &scope.plugin, number, <[u8]>::len)?;
    let size = u32::try_from(size).map_err(|_| Status::InternalFailure)?;
    memory::give(caller, return_size, size.to_le_bytes())?;
    memory::give(caller, return_flags, 0_u32.to_le_bytes())
}

/// Bodies can be written where they can be read; the other buffers never.
fn set(caller: &mut Caller<'_>, number: u32, start: u32, size: u32, data: u32, data_size: u32) -> Answer {
    let (guest, state) = memory::split(caller)?;
    let data = memory::slice(guest, data, data_size)?;
    let Some(direction) = body_of(number) else {
        let scope = Arc::clone(&state.scope);
        with_content(state, &scope.plugin, number, |_| ())?;
        return Err(Status::BadArgument.into());
    };
    let limit = state.scope.plugin.limits.body_bytes;
    let stream = state.call.stream.as_ref().ok_or(Status::BadArgument)?;
    let mut inner = stream.lock();
    let leg = inner.leg(direction);
    // Growing past the limit, not being past it: a piece that came so large may be rewritten.
    if leg.body_open && data.len() > limit && data.len() > leg.body.len() {
        return Err(TrapCause::Bytes { name: "body_bytes", limit }.into());
    }
    if !leg.body_open || !leg.body.set(start as usize, size as usize, data) {
        return Err(Status::BadArgument.into());
    }
    if leg.body.len() > limit.saturating_mul(2) {
        return Err(TrapCause::Bytes { name: "body_bytes", limit }.into());
    }
    Ok(())
}

fn get_configuration(caller: &mut Caller<'_>, return_data: u32, return_size: u32) -> Answer {
    let scope = Arc::clone(&caller.data().scope);
    let plugin = &scope.plugin;
    let bytes = if configuring(caller.data()) { &plugin.configuration } else { &plugin.vm_configuration };
    memory::hand_over(caller, bytes, return_data, return_size)
}
