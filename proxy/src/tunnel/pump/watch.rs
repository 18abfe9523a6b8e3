//! Whether a leg is alive: when it last sent something, whether it was pinged, whether it takes what is sent to it.
//!
//! Looked at on a coarse tick. The hot path keeps byte counts only, no time stamps; a tick compares them with the
//! last one's. What happened between two ticks counts as having happened at the later one, so a limit is never
//! applied early, and late by two ticks at most.

use std::time::Duration;

use tokio::time::Instant;

use super::{Limits, direction::Direction};

/// What a tick found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Fine,
    /// The leg has been quiet for [`Limits::idle_ping`].
    PingDue,
    /// The leg has been quiet for [`Limits::silence`] although pinged.
    Silent,
    /// The leg has taken nothing for [`Limits::write_stall`].
    Stalled,
}

enum Ping {
    None,
    /// Waits for a frame boundary; `injected` was the direction's count then.
    Waiting {
        injected: u64,
    },
    Sent {
        at: Instant,
    },
}

/// The watch over one leg.
pub(super) struct Watch {
    received: u64,
    heard: Instant,
    sent: u64,
    took: Instant,
    blocked_since: Option<Instant>,
    ping: Ping,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self { received: 0, heard: now, sent: 0, took: now, blocked_since: None, ping: Ping::None }
    }

    /// Looks at the leg that `from` reads from and `towards` writes to.
    pub(super) fn check(
        &mut self,
        now: Instant,
        limits: &Limits,
        from: &Direction,
        towards: &Direction,
    ) -> Finding {
        self.note_output(now, towards);
        // In this order: a Ping may have been sent and answered since the last tick.
        self.note_ping(now, towards);
        self.note_input(now, from);
        let quiet = now - self.heard;
        if self.blocked_since.is_some_and(|since| now - since >= limits.write_stall) {
            Finding::Stalled
        } else if quiet >= limits.silence && self.had_its_chance(now, limits) {
            Finding::Silent
        } else if quiet >= limits.idle_ping && matches!(self.ping, Ping::None) && towards.can_ping() {
            Finding::PingDue
        } else {
            Finding::Fine
        }
    }

    /// A Ping was handed to `towards`.
    pub(super) fn pinged(&mut self, towards: &Direction) {
        self.ping = Ping::Waiting { injected: towards.injected() };
    }

    /// Whether silence means anything: the leg had the time to answer a Ping, or, where none could be sent (inside a
    /// frame, after a Close frame, in an opaque stream), it did not even take bytes.
    fn had_its_chance(&self, now: Instant, limits: &Limits) -> bool {
        let (since, needed): (Instant, Duration) = match self.ping {
            Ping::Sent { at } => (at, limits.silence.saturating_sub(limits.idle_ping)),
            Ping::None | Ping::Waiting { .. } => (self.took, limits.silence),
        };
        now - since >= needed
    }

    fn note_output(&mut self, now: Instant, towards: &Direction) {
        if towards.sent() != self.sent {
            self.sent = towards.sent();
            self.took = now;
            self.blocked_since = None;
        }
        if towards.is_blocked() {
            self.blocked_since.get_or_insert(now);
        } else {
            self.blocked_since = None;
        }
    }

    fn note_input(&mut self, now: Instant, from: &Direction) {
        if from.received() != self.received {
            self.received = from.received();
            self.heard = now;
            if matches!(self.ping, Ping::Sent { .. }) {
                self.ping = Ping::None;
            }
        }
    }

    fn note_ping(&mut self, now: Instant, towards: &Direction) {
        if let Ping::Waiting { injected } = self.ping {
            if towards.injected() != injected {
                self.ping = Ping::Sent { at: now };
            } else if !towards.is_injecting() {
                self.ping = Ping::None;
            }
        }
    }
}
