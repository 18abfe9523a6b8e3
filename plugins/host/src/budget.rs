//! The budgets a guest can cross, by name, and how often each was.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::TrapCause;

macro_rules! budgets {
    ($($(#[$doc:meta])* $budget:ident = $name:literal,)*) => {
        /// A budget of a plugin for a tenant. What crossing it leads to stands at the field of
        /// [`Limits`](crate::Limits) or [`EngineSettings`](crate::EngineSettings) that sets it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Budget {
            $($(#[$doc])* $budget,)*
        }

        impl Budget {
            /// Every budget there is.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$budget),*];

            /// Its name in metrics: lower case with underscores.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$budget => $name,)*
                }
            }
        }
    };
}

budgets! {
    /// `callback_cpu`, `start_cpu`.
    Cpu = "cpu",
    /// `callback_fuel`, `start_fuel`.
    Fuel = "fuel",
    /// `memory_bytes`.
    Memory = "memory",
    /// `table_elements`.
    Table = "table",
    /// `max_stack_bytes`.
    Stack = "stack",
    /// `log_bytes`.
    LogBytes = "log_bytes",
    /// `log_lines_per_second`. Counted once for each time that lines begin to be dropped.
    LogLines = "log_lines",
    /// `header_bytes`.
    HeaderBytes = "header_bytes",
    /// `property_bytes`.
    PropertyBytes = "property_bytes",
    /// `local_response_bytes`.
    LocalResponseBytes = "local_response_bytes",
    /// `body_bytes`.
    BodyBytes = "body_bytes",
    /// `calls_in_flight`.
    CallsInFlight = "calls_in_flight",
    /// `calls_per_stream`.
    CallsPerStream = "calls_per_stream",
    /// `call_body_bytes`.
    CallBodyBytes = "call_body_bytes",
    /// `queue_messages`, `queue_bytes`.
    Queue = "queue",
    /// `metrics`.
    Metrics = "metrics",
    /// `shared_data_bytes`.
    SharedData = "shared_data",
}

impl Budget {
    /// The budget whose crossing ended a guest, if that is why it ended.
    pub(crate) fn of(cause: &TrapCause) -> Option<Self> {
        match cause {
            TrapCause::Cpu(_) => Some(Self::Cpu),
            TrapCause::Fuel(_) => Some(Self::Fuel),
            TrapCause::Memory { .. } => Some(Self::Memory),
            TrapCause::Table(_) => Some(Self::Table),
            TrapCause::Stack => Some(Self::Stack),
            TrapCause::Bytes { name, .. } => Self::ALL.into_iter().find(|budget| budget.name() == *name),
            TrapCause::Wasm(_) | TrapCause::Restricted { .. } | TrapCause::Exit(_) => None,
        }
    }
}

/// How often each budget was crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BudgetCounts([u64; Budget::ALL.len()]);

impl BudgetCounts {
    /// How often this one was.
    #[must_use]
    pub fn get(&self, budget: Budget) -> u64 {
        self.0.get(budget as usize).copied().unwrap_or(0)
    }

    /// Every budget and how often it was crossed, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (Budget, u64)> {
        Budget::ALL.into_iter().zip(self.0)
    }
}

/// The counters behind [`BudgetCounts`].
#[derive(Default)]
pub(crate) struct BudgetCounters([AtomicU64; Budget::ALL.len()]);

impl BudgetCounters {
    pub(crate) fn crossed(&self, budget: Budget) {
        if let Some(counter) = self.0.get(budget as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn counts(&self) -> BudgetCounts {
        BudgetCounts(std::array::from_fn(|index| {
            self.0.get(index).map_or(0, |counter| counter.load(Ordering::Relaxed))
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn each_is_counted_under_its_own_name() {
        let counters = BudgetCounters::default();
        for (times, budget) in Budget::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| counters.crossed(budget));
        }
        for (times, (budget, count)) in counters.counts().iter().enumerate() {
            assert_eq!(count, times as u64, "{}", budget.name());
            assert_eq!(counters.counts().get(budget), count);
        }
        let mut names = Budget::ALL.map(Budget::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
