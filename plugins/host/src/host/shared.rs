//! Shared data.

use std::sync::Arc;

use wasmtime::Linker;

use super::{Allowed, export};
use crate::abi::Status;
use crate::budget::Budget;
use crate::memory;
use crate::state::{Answer, Caller, HostState};

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    export!(
        linker, "proxy_get_shared_data", Allowed::Callbacks, get,
        (key: u32, key_size: u32, return_value: u32, return_size: u32, return_version: u32)
    );
    export!(
        linker, "proxy_set_shared_data", Allowed::Callbacks, set,
        (key: u32, key_size: u32, value: u32, value_size: u32, version: u32)
    );
    Ok(())
}

fn get(
    caller: &mut Caller<'_>,
    key: u32,
    key_size: u32,
    return_value: u32,
    return_size: u32,
    return_version: u32,
) -> Answer {
    let (guest, state) = memory::split(caller)?;
    memory::slice(guest, return_version, 4)?;
    let key = memory::slice(guest, key, key_size)?;
    let mut value = std::mem::take(&mut state.scratch);
    value.clear();
    let version = state.scope.shared_data.get(key, &mut value);
    let answer = match version {
        None => Err(Status::NotFound.into()),
        Some(version) => memory::hand_over(caller, &value, return_value, return_size)
            .and_then(|()| memory::give(caller, return_version, version.to_le_bytes())),
    };
    caller.data_mut().scratch = value;
    answer
}

fn set(
    caller: &mut Caller<'_>,
    key: u32,
    key_size: u32,
    value: u32,
    value_size: u32,
    version: u32,
) -> Answer {
    let (guest, state) = memory::split(caller)?;
    let key = memory::slice(guest, key, key_size)?;
    let value = memory::slice(guest, value, value_size)?;
    let scope = Arc::clone(&state.scope);
    let set = scope.shared_data.set(key, value, version);
    if set == Err(Status::InternalFailure) {
        scope.plugin.crossed(Budget::SharedData);
    }
    Ok(set?)
}
