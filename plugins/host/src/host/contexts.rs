//! `proxy_set_effective_context`, `proxy_done`, `proxy_get_status`.

use wasmtime::Linker;

use super::{Allowed, export};
use crate::abi::Status;
use crate::memory;
use crate::state::{Answer, Caller, HostState, Phase, ROOT_CONTEXT};

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    export!(linker, "proxy_set_effective_context", Allowed::Callbacks, set_effective_context, (context: u32));
    export!(linker, "proxy_done", Allowed::Callbacks, done, ());
    export!(
        linker, "proxy_get_status", Allowed::Callbacks, get_status,
        (return_code: u32, return_message: u32, return_length: u32)
    );
    Ok(())
}

/// From then on host calls act on that context: its exchange, if it is a stream that is held.
fn set_effective_context(caller: &mut Caller<'_>, context: u32) -> Answer {
    caller.data_mut().set_effective_context(context)
}

/// For a root context that answered `proxy_on_done` with false. A stream is deleted whatever it returned (as in
/// Envoy), so it has nothing to be done with: `NOT_FOUND`.
fn done(caller: &mut Caller<'_>) -> Answer {
    let state = caller.data_mut();
    // Not while a stream is done, whatever the effective context: its instance goes on.
    let ending =
        state.root.finishing || (state.call.phase == Phase::Done && state.call.context == ROOT_CONTEXT);
    if !ending || state.call.stream.is_some() {
        return Err(Status::NotFound.into());
    }
    state.root.done = true;
    Ok(())
}

/// The status of the call out whose answer is told; elsewhere 0 and no text, as in Envoy.
fn get_status(caller: &mut Caller<'_>, return_code: u32, return_message: u32, return_length: u32) -> Answer {
    let (code, message) = caller.data().root.status.clone();
    memory::give(caller, return_code, code.to_le_bytes())?;
    memory::hand_over(caller, &message, return_message, return_length)
}
