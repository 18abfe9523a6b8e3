//! `proxy_call_foreign_function`: what the embedder offers beyond the ABI.

use std::sync::Arc;

use wasmtime::Linker;

use super::{Allowed, export};
use crate::abi::Status;
use crate::memory;
use crate::state::{Answer, Caller, HostState};

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    export!(
        linker, "proxy_call_foreign_function", Allowed::Callbacks, call,
        (name: u32, name_size: u32, arguments: u32, arguments_size: u32, return_data: u32, return_size: u32)
    );
    Ok(())
}

/// Envoy's. A route is chosen once, before plugins run, so there is nothing to clear.
const CLEAR_ROUTE_CACHE: &str = "clear_route_cache";

/// A name that nobody registered is `NOT_FOUND`.
fn call(
    caller: &mut Caller<'_>,
    name: u32,
    name_size: u32,
    arguments: u32,
    arguments_size: u32,
    return_data: u32,
    return_size: u32,
) -> Answer {
    let (guest, state) = memory::split(caller)?;
    let name = memory::slice(guest, name, name_size)?;
    let arguments = memory::slice(guest, arguments, arguments_size)?;
    let name = std::str::from_utf8(name).map_err(|_| Status::NotFound)?;
    if name == CLEAR_ROUTE_CACHE {
        return memory::hand_over(caller, &[], return_data, return_size);
    }
    let environment = Arc::clone(&state.scope.plugin.environment);
    let result = environment.foreign_function(name, arguments).ok_or(Status::NotFound)?;
    let result = result.map_err(|_| Status::BadArgument)?;
    memory::hand_over(caller, &result, return_data, return_size)
}
