//! The buffer calls and, for ABI 0.1.0, `proxy_get_configuration`.
//!
//! Only the two configurations have content: bodies are not delivered yet, so their buffers are what Envoy's are
//! outside their callbacks, OK and empty.

use std::sync::Arc;

use wasmtime::Linker;

use super::{Allowed, export};
use crate::abi::{AbiVersion, Status, buffer};
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

/// The content of a buffer in this callback.
fn content<'a>(state: &HostState, plugin: &'a PluginFacts, number: u32) -> Result<&'a [u8], Status> {
    match number {
        buffer::VM_CONFIGURATION => Ok(&plugin.vm_configuration),
        buffer::PLUGIN_CONFIGURATION if configuring(state) => Ok(&plugin.configuration),
        buffer::PLUGIN_CONFIGURATION | buffer::HTTP_CALL_RESPONSE_BODY => Err(Status::NotFound),
        buffer::HTTP_REQUEST_BODY
        | buffer::HTTP_RESPONSE_BODY
        | buffer::DOWNSTREAM_DATA
        | buffer::UPSTREAM_DATA
        | buffer::GRPC_CALL_MESSAGE
        | buffer::FOREIGN_FUNCTION_ARGUMENTS => Ok(&[]),
        _ => Err(Status::BadArgument),
    }
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
    let content = content(caller.data(), &scope.plugin, number)?;
    let rest = content.get(start as usize..).unwrap_or_default();
    let part = rest.get(..max_size as usize).unwrap_or(rest);
    memory::hand_over(caller, part, return_data, return_size)
}

fn status(caller: &mut Caller<'_>, number: u32, return_size: u32, return_flags: u32) -> Answer {
    let scope = Arc::clone(&caller.data().scope);
    let content = content(caller.data(), &scope.plugin, number)?;
    let size = u32::try_from(content.len()).map_err(|_| Status::InternalFailure)?;
    memory::give(caller, return_size, size.to_le_bytes())?;
    memory::give(caller, return_flags, 0_u32.to_le_bytes())
}

/// No buffer can be written in the callbacks that are delivered.
fn set(caller: &mut Caller<'_>, number: u32, _start: u32, _size: u32, data: u32, data_size: u32) -> Answer {
    let scope = Arc::clone(&caller.data().scope);
    content(caller.data(), &scope.plugin, number)?;
    let (guest, _) = memory::split(caller)?;
    memory::slice(guest, data, data_size)?;
    Err(Status::BadArgument.into())
}

fn get_configuration(caller: &mut Caller<'_>, return_data: u32, return_size: u32) -> Answer {
    let scope = Arc::clone(&caller.data().scope);
    let plugin = &scope.plugin;
    let bytes = if configuring(caller.data()) { &plugin.configuration } else { &plugin.vm_configuration };
    memory::hand_over(caller, bytes, return_data, return_size)
}
