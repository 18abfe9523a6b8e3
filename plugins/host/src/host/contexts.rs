//! `proxy_set_effective_context`, `proxy_done`, `proxy_get_status`.

use wasmtime::Linker;

use super::{Allowed, export};
use crate::abi::Status;
use crate::memory;
use crate::state::{Answer, Caller, HostState};

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    export!(linker, "proxy_set_effective_context", Allowed::Callbacks, set_effective_context, (context: u32));
    export!(linker, "proxy_done", Allowed::Callbacks, done, ());
    export!(
        linker, "proxy_get_status", Allowed::Callbacks, get_status,
        (return_code: u32, return_message: u32, return_length: u32)
    );
    Ok(())
}

/// Other contexts can be chosen, but only the callback's own has an exchange: maps and properties of another stream
/// are not there until calls out make them useful.
fn set_effective_context(caller: &mut Caller<'_>, context: u32) -> Answer {
    let state = caller.data_mut();
    if !state.knows_context(context) {
        return Err(Status::BadArgument.into());
    }
    state.call.effective = context;
    Ok(())
}

/// No context is ever left pending: a stream is deleted whatever `proxy_on_done` returned (as in Envoy), and a root
/// context that returned false is dropped with its instance.
fn done(_caller: &mut Caller<'_>) -> Answer {
    Err(Status::NotFound.into())
}

/// The status of the last call out. There are none, so it is what Envoy answers outside their callbacks: 0, no text.
fn get_status(caller: &mut Caller<'_>, return_code: u32, return_message: u32, return_length: u32) -> Answer {
    memory::give(caller, return_code, 0_u32.to_le_bytes())?;
    memory::hand_over(caller, &[], return_message, return_length)
}
