//! Watches every host call of a guest: whether it wrote only what it may write.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use coditect_proxy_wasm::{TraceEvent, Tracer};

use crate::signatures::{HOST_CALLS, HostCall, Write};

/// Where the guest's allocator puts everything, and how much it gives at most.
pub(crate) const HEAP: u32 = 40_000;
pub(crate) const HEAP_BYTES: u32 = 20_000;

/// Calls before the guest is ready: it fetches its program, and says so.
const SETUP_CALLS: u32 = 2;

/// A tracer that keeps the guest's memory as it should be.
pub(crate) struct Oracle {
    calls: HashMap<&'static str, &'static HostCall>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Since the callback began.
    made: u32,
    memory: Vec<u8>,
    checked: u64,
    violation: Option<String>,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        let calls = HOST_CALLS.iter().map(|call| (call.name, call)).collect();
        Self { calls, state: Mutex::default() }
    }

    /// Panics where a rule was broken since this was last asked.
    pub(crate) fn verdict(&self) {
        let violation = self.state.lock().unwrap_or_else(PoisonError::into_inner).violation.take();
        assert!(violation.is_none(), "{}", violation.unwrap_or_default());
    }

    /// Host calls that were checked.
    pub(crate) fn checked(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).checked
    }

    fn check(&self, state: &mut State, name: &str, arguments: &[u64], memory: &[u8]) {
        state.made += 1;
        if state.made > SETUP_CALLS {
            let call = self.calls[name];
            if arguments.len() != call.parameters.len() {
                state.violation = Some(format!("{name} has {} arguments", arguments.len()));
            }
            let heap = (HEAP, HEAP_BYTES);
            for (at, length) in call.writes.iter().map(|write| place(write, arguments)).chain([heap]) {
                let from = usize::try_from(at).unwrap_or(usize::MAX).min(memory.len());
                let end =
                    from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(memory.len());
                state.memory[from..end].copy_from_slice(&memory[from..end]);
            }
            if state.memory != memory {
                let at = state.memory.iter().zip(memory).position(|(old, new)| old != new);
                state.violation = Some(format!("{name} {arguments:x?} wrote at {at:?}"));
            }
            state.checked += 1;
        }
        state.memory.clear();
        state.memory.extend_from_slice(memory);
    }
}

fn place(write: &Write, arguments: &[u64]) -> (u32, u32) {
    let word = |index: usize| arguments.get(index).map_or(0, |word| u32::try_from(*word).unwrap_or(0));
    match *write {
        Write::Fixed(pointer, length) => (word(pointer), length),
        Write::Sized(pointer, length) => (word(pointer), word(length)),
    }
}

impl Tracer for Oracle {
    fn event(&self, event: &TraceEvent<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            TraceEvent::Enter { .. } => state.made = 0,
            TraceEvent::HostCall { name, arguments, memory, .. } => {
                self.check(&mut state, name, arguments, memory);
            }
            TraceEvent::Leave { .. } => {}
        }
    }
}
