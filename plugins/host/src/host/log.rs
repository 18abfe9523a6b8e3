//! `proxy_log`, `proxy_get_log_level`, `proxy_get_current_time_nanoseconds`.

use wasmtime::Linker;

use super::{Allowed, export};
use crate::abi::{AbiVersion, LogLevel, Status};
use crate::memory;
use crate::state::{Answer, ByteBudget, Caller, HostState};

pub(super) fn link(linker: &mut Linker<HostState>, version: AbiVersion) -> wasmtime::Result<()> {
    export!(linker, "proxy_log", Allowed::Anywhere, proxy_log, (level: u32, message: u32, length: u32));
    export!(linker, "proxy_get_current_time_nanoseconds", Allowed::Callbacks, current_time, (return_time: u32));
    if version == AbiVersion::V0_2_1 {
        export!(linker, "proxy_get_log_level", Allowed::Callbacks, get_log_level, (return_level: u32));
    }
    Ok(())
}

fn proxy_log(caller: &mut Caller<'_>, level: u32, message: u32, length: u32) -> Answer {
    let level = LogLevel::from_raw(level).ok_or(Status::BadArgument)?;
    let (guest, state) = memory::split(caller)?;
    emit(state, level, memory::slice(guest, message, length)?)
}

/// Logs one message if the plugin's level lets it through; only then does it count against the budget.
pub(super) fn emit(state: &mut HostState, level: LogLevel, message: &[u8]) -> Answer {
    if level < state.scope.plugin.log_level {
        return Ok(());
    }
    state.charge(ByteBudget::Log, message.len())?;
    let scope = &state.scope;
    let write = |request_id: Option<&str>| scope.log(level, request_id, message);
    if state.with_exchange(|exchange| write(Some(exchange.request_id()))).is_none() {
        write(None);
    }
    Ok(())
}

fn get_log_level(caller: &mut Caller<'_>, return_level: u32) -> Answer {
    let level = caller.data().scope.plugin.log_level as u32;
    memory::give(caller, return_level, level.to_le_bytes())
}

fn current_time(caller: &mut Caller<'_>, return_time: u32) -> Answer {
    let now = caller.data().scope.plugin.environment.realtime_nanoseconds();
    memory::give(caller, return_time, now.to_le_bytes())
}
