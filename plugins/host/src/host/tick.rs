//! `proxy_set_tick_period_milliseconds`.

use std::time::Duration;

use wasmtime::Linker;

use super::{Allowed, export};
use crate::schedule::nanoseconds;
use crate::state::{Answer, Caller, HostState};

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    export!(linker, "proxy_set_tick_period_milliseconds", Allowed::Callbacks, set_period, (period: u32));
    Ok(())
}

/// 0 turns ticks off. A period below the limit is that limit. The first tick comes one period from now.
fn set_period(caller: &mut Caller<'_>, period: u32) -> Answer {
    let state = caller.data_mut();
    state.root.tick_generation += 1;
    state.root.tick = None;
    let before = state.root.next_tick.take();
    if period > 0 {
        let plugin = &state.scope.plugin;
        let period = Duration::from_millis(period.into()).max(plugin.limits.min_tick);
        state.root.tick = Some(period);
        let due = plugin.environment.monotonic_nanoseconds().saturating_add(nanoseconds(period));
        let (schedule, generation) = (state.mailbox.schedule(), state.root.tick_generation);
        state.root.next_tick = Some(schedule.tick(due, &state.mailbox, generation, before));
    } else if let Some(before) = before {
        state.mailbox.schedule().forget(before);
    }
    Ok(())
}
