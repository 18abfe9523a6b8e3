//! Metrics.

use std::sync::PoisonError;

use wasmtime::Linker;

use super::{Allowed, export};
use crate::abi::{MetricKind, Status};
use crate::budget::Budget;
use crate::limits::MAX_METRIC_NAME_BYTES;
use crate::memory;
use crate::metrics::MetricTable;
use crate::state::{Answer, Caller, Fault, HostState};

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let callbacks = Allowed::Callbacks;
    export!(
        linker, "proxy_define_metric", callbacks, define,
        (kind: u32, name: u32, name_size: u32, return_id: u32)
    );
    export!(linker, "proxy_increment_metric", callbacks, increment, (metric: u32, offset: i64));
    export!(linker, "proxy_record_metric", callbacks, record, (metric: u32, value: u64));
    export!(linker, "proxy_get_metric", callbacks, get, (metric: u32, return_value: u32));
    Ok(())
}

fn with_table<T>(state: &HostState, act: impl FnOnce(&mut MetricTable) -> Result<T, Status>) -> Answer<T> {
    Ok(act(&mut state.scope.metrics.lock().unwrap_or_else(PoisonError::into_inner))?)
}

fn define(caller: &mut Caller<'_>, kind: u32, name: u32, name_size: u32, return_id: u32) -> Answer {
    let kind = MetricKind::from_raw(kind).ok_or(Status::BadArgument)?;
    let (guest, state) = memory::split(caller)?;
    memory::slice(guest, return_id, 4)?;
    let name = memory::slice(guest, name, name_size)?;
    if name.is_empty() || name.len() > MAX_METRIC_NAME_BYTES {
        return Err(Status::BadArgument.into());
    }
    let name = std::str::from_utf8(name).map_err(|_| Status::BadArgument)?;
    let limit = state.scope.plugin.limits.metrics;
    let id = with_table(state, |table| table.define(kind, name, limit));
    if matches!(id, Err(Fault::Status(Status::InternalFailure))) {
        state.scope.plugin.crossed(Budget::Metrics);
    }
    let id = id?;
    memory::give(caller, return_id, id.to_le_bytes())
}

fn increment(caller: &mut Caller<'_>, metric: u32, offset: i64) -> Answer {
    with_table(caller.data(), |table| table.increment(metric, offset))
}

fn record(caller: &mut Caller<'_>, metric: u32, value: u64) -> Answer {
    with_table(caller.data(), |table| table.record(metric, value))
}

fn get(caller: &mut Caller<'_>, metric: u32, return_value: u32) -> Answer {
    let value = with_table(caller.data(), |table| table.get(metric))?;
    memory::give(caller, return_value, value.to_le_bytes())
}
