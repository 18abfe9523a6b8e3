//! How many lines a plugin may log for a tenant: a token bucket of one second's worth.

use std::sync::{Mutex, PoisonError};

const SECOND: u64 = 1_000_000_000;

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// It is logged.
    Passes,
    /// It is logged, after a line that says how many were dropped before.
    PassesAfter(u64),
    /// It is dropped.
    Dropped {
        /// Whether it is the first one since the last report.
        first: bool,
    },
}

/// The bucket of a plugin and tenant.
#[derive(Default)]
pub(crate) struct LogBudget(Mutex<State>);

#[derive(Default)]
struct State {
    /// When the bucket will be full again, in nanoseconds of the environment's monotonic clock. Each line moves it by
    /// a token's worth; a line that would move it more than a second ahead finds the bucket empty.
    full_at: u64,
    /// Lines dropped and not reported yet.
    dropped: u64,
    /// When the first of them was.
    since: u64,
}

impl LogBudget {
    /// Asks for a line at the time `now`. What was dropped is reported once a second at most, so that a flood's reports
    /// are no flood themselves.
    pub(crate) fn take(&self, per_second: u32, now: u64) -> Line {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // More lines than nanoseconds in a second are no limit at all.
        let token = SECOND.checked_div(u64::from(per_second)).unwrap_or(u64::MAX);
        let full_at = state.full_at.max(now).saturating_add(token);
        if full_at.saturating_sub(now) > SECOND {
            let first = state.dropped == 0;
            if first {
                state.since = now;
            }
            state.dropped = state.dropped.saturating_add(1);
            return Line::Dropped { first };
        }
        state.full_at = full_at;
        if state.dropped == 0 || now.saturating_sub(state.since) < SECOND {
            return Line::Passes;
        }
        Line::PassesAfter(std::mem::take(&mut state.dropped))
    }

    /// Lines dropped and not reported yet; they are now.
    pub(crate) fn unreported(&mut self) -> u64 {
        std::mem::take(&mut self.0.get_mut().unwrap_or_else(PoisonError::into_inner).dropped)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// How many of `lines` pass at once.
    fn passed(budget: &LogBudget, lines: u32, now: u64) -> usize {
        (0..lines).filter(|_| !matches!(budget.take(10, now), Line::Dropped { .. })).count()
    }

    #[test]
    fn a_second_s_worth_passes_at_once_and_then_as_time_goes_by() {
        let budget = LogBudget::default();
        assert_eq!(passed(&budget, 50, 5 * SECOND), 10);
        assert_eq!(passed(&budget, 50, 5 * SECOND + SECOND / 2), 5);
        assert_eq!(passed(&budget, 50, 5 * SECOND + SECOND / 2 + SECOND / 10 - 1), 0);
        assert_eq!(passed(&budget, 50, 60 * SECOND), 10, "it holds no more than a second's worth");
        assert_eq!(passed(&budget, 50, 0), 0, "a clock that goes back refills nothing");
    }

    #[test]
    fn the_dropped_are_reported_once_a_second() {
        let mut budget = LogBudget::default();
        assert_eq!(passed(&budget, 10, 0), 10);
        assert_eq!(budget.take(10, 0), Line::Dropped { first: true });
        assert_eq!(budget.take(10, 0), Line::Dropped { first: false });
        assert_eq!(budget.take(10, SECOND / 2), Line::Passes);
        assert_eq!(budget.take(10, SECOND), Line::PassesAfter(2));
        assert_eq!(budget.take(10, SECOND), Line::Passes);
        assert_eq!(budget.unreported(), 0);
        assert_eq!(passed(&budget, 20, SECOND), 7);
        assert_eq!(budget.unreported(), 13);
        assert_eq!(budget.unreported(), 0);
    }

    #[test]
    fn no_lines_and_no_limit() {
        let budget = LogBudget::default();
        assert_eq!(budget.take(0, 9 * SECOND), Line::Dropped { first: true });
        assert!((0..100_000).all(|_| budget.take(u32::MAX, 0) == Line::Passes));
    }
}
