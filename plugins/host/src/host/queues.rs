//! Shared queues.

use std::sync::Arc;

use wasmtime::Linker;

use super::{Allowed, export};
use crate::abi::Status;
use crate::budget::Budget;
use crate::memory;
use crate::state::{Answer, Caller, HostState};

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let callbacks = Allowed::Callbacks;
    export!(
        linker, "proxy_register_shared_queue", callbacks, register,
        (name: u32, name_size: u32, return_token: u32)
    );
    export!(
        linker, "proxy_resolve_shared_queue", callbacks, resolve,
        (vm_id: u32, vm_id_size: u32, name: u32, name_size: u32, return_token: u32)
    );
    export!(
        linker, "proxy_enqueue_shared_queue", callbacks, enqueue,
        (token: u32, message: u32, message_size: u32)
    );
    export!(
        linker, "proxy_dequeue_shared_queue", callbacks, dequeue,
        (token: u32, return_data: u32, return_size: u32)
    );
    Ok(())
}

fn register(caller: &mut Caller<'_>, name: u32, name_size: u32, return_token: u32) -> Answer {
    let (guest, state) = memory::split(caller)?;
    memory::slice(guest, return_token, 4)?;
    let name = memory::slice(guest, name, name_size)?;
    let token = state.scope.queues.register(&state.scope.plugin.vm_id, name, &state.mailbox)?;
    memory::give(caller, return_token, token.to_le_bytes())
}

/// Another plugin's queue is found by its `vm_id`, within the same tenant.
fn resolve(
    caller: &mut Caller<'_>,
    vm_id: u32,
    vm_id_size: u32,
    name: u32,
    name_size: u32,
    return_token: u32,
) -> Answer {
    let (guest, state) = memory::split(caller)?;
    memory::slice(guest, return_token, 4)?;
    let vm_id = memory::slice(guest, vm_id, vm_id_size)?;
    let name = memory::slice(guest, name, name_size)?;
    let vm_id = std::str::from_utf8(vm_id).map_err(|_| Status::NotFound)?;
    let token = state.scope.queues.resolve(&state.scope.plugin.vm_scope(vm_id), name)?;
    memory::give(caller, return_token, token.to_le_bytes())
}

/// A full queue is `INTERNAL_FAILURE`.
fn enqueue(caller: &mut Caller<'_>, token: u32, message: u32, message_size: u32) -> Answer {
    let (guest, state) = memory::split(caller)?;
    let message = memory::slice(guest, message, message_size)?;
    let plugin = &state.scope.plugin;
    let (messages, bytes) = (plugin.limits.queue_messages, plugin.limits.queue_bytes);
    let enqueued = state.scope.queues.enqueue(token, message, messages, bytes);
    if enqueued == Err(Status::InternalFailure) {
        plugin.crossed(Budget::Queue);
    }
    Ok(enqueued?)
}

fn dequeue(caller: &mut Caller<'_>, token: u32, return_data: u32, return_size: u32) -> Answer {
    let (guest, state) = memory::split(caller)?;
    memory::slice(guest, return_data, 4)?;
    memory::slice(guest, return_size, 4)?;
    let queues = Arc::clone(&state.scope.queues);
    let message = queues.dequeue(token)?;
    memory::hand_over(caller, &message, return_data, return_size)
}
