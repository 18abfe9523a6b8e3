//! A tunnel's state: two legs, two directions, and the stages of its end.

use std::{pin::Pin, task::Context, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{
    Counters, Ending, Limits, Outcome,
    direction::{Direction, Half},
    watch::{Finding, Watch},
};
use crate::tunnel::frames::{ControlFrame, Sender};

/// Longest distance between two looks at the legs.
const LONGEST_TICK: Duration = Duration::from_secs(5);
/// Shortest distance between two looks at the legs.
const SHORTEST_TICK: Duration = Duration::from_millis(5);

/// Close codes of RFC 6455 7.4.1 and its registry; 4001 and 4002 are the edge's own. 1014 (bad gateway) would say more than
/// 1011 for a lost upstream, but clients that predate it treat it as a protocol error.
const GOING_AWAY: u16 = 1001;
const INTERNAL_ERROR: u16 = 1011;
const SERVICE_RESTART: u16 = 1012;
const SIGNED_OUT: u16 = 4001;
const WORKSPACE_ENDED: u16 = 4002;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// One leg has ended; what it sent is being written.
    Flushing {
        until: Instant,
    },
    /// One direction has ended, or a Close frame has passed in both; the rest has a little time.
    Lingering {
        until: Instant,
    },
    /// The edge ends the tunnel; directions are being brought to a boundary.
    Closing {
        until: Instant,
    },
    /// The edge has ended the tunnel; the two ends have a little time to close.
    Waiting {
        until: Instant,
    },
    Over,
}

pub(super) struct Tunnel<'a, C, U, M> {
    client: C,
    upstream: U,
    /// From the client to the upstream.
    up: Direction,
    /// From the upstream to the client.
    down: Direction,
    client_watch: Watch,
    upstream_watch: Watch,
    limits: &'a Limits,
    counters: &'a Counters,
    mask: M,
    tick: Duration,
    next_tick: Instant,
    stage: Stage,
    /// What one of the ends did first.
    began: Option<Outcome>,
    /// Why the edge ended the tunnel.
    cause: Option<Outcome>,
}

impl<'a, C, U, M> Tunnel<'a, C, U, M>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
    M: FnMut() -> [u8; 4],
{
    pub(super) fn new(
        client: C,
        upstream: U,
        limits: &'a Limits,
        counters: &'a Counters,
        mask: M,
        now: Instant,
    ) -> Self {
        let shortest = limits.idle_ping.min(limits.silence).min(limits.write_stall);
        let tick = (shortest / 8).clamp(SHORTEST_TICK, LONGEST_TICK);
        Self {
            client,
            upstream,
            up: Direction::new(Sender::Client, limits.buffer_bytes),
            down: Direction::new(Sender::Server, limits.buffer_bytes),
            client_watch: Watch::new(now),
            upstream_watch: Watch::new(now),
            limits,
            counters,
            mask,
            tick,
            next_tick: now + tick,
            stage: Stage::Open,
            began: None,
            cause: None,
        }
    }

    /// When [`Tunnel::on_time`] wants to be called.
    pub(super) fn wake_at(&self) -> Instant {
        self.deadline().map_or(self.next_tick, |deadline| deadline.min(self.next_tick))
    }

    /// How the tunnel ended, once it has.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let began = || self.cause.or(self.began).unwrap_or(Outcome::ClientClosed);
        (self.stage == Stage::Over).then(began)
    }

    /// The edge wants the tunnel to end.
    pub(super) fn end(&mut self, why: Ending) {
        let (outcome, code, reason) = match why {
            Ending::SignedOut => (Outcome::SignedOut, SIGNED_OUT, "signed out"),
            Ending::WorkspaceEnded => (Outcome::WorkspaceEnded, WORKSPACE_ENDED, "workspace ended"),
            Ending::Drain => (Outcome::Drained, SERVICE_RESTART, "service restart"),
        };
        self.close(outcome, Some((code, reason)), true);
    }

    /// Moves bytes. True: there is more to move, poll again soon.
    pub(super) fn poll_legs(&mut self, cx: &mut Context<'_>) -> bool {
        let (client, upstream) = (Pin::new(&mut self.client), Pin::new(&mut self.upstream));
        let up = self.up.poll_turn(cx, client, upstream, &self.counters.to_upstream);
        let (client, upstream) = (Pin::new(&mut self.client), Pin::new(&mut self.upstream));
        let down = self.down.poll_turn(cx, upstream, client, &self.counters.to_client);
        up || down
    }

    /// Draws the conclusions from what [`Tunnel::poll_legs`] brought. True: poll again soon.
    pub(super) fn advance(&mut self) -> bool {
        self.note_beginning();
        match self.stage {
            Stage::Open | Stage::Flushing { .. } | Stage::Lingering { .. } => self.advance_by_the_ends(),
            Stage::Closing { .. } | Stage::Waiting { .. } => self.advance_by_the_edge(),
            Stage::Over => false,
        }
    }

    /// A tick or a deadline was reached.
    pub(super) fn on_time(&mut self, now: Instant) {
        if now >= self.next_tick {
            self.next_tick = now + self.tick;
            self.up.rest();
            self.down.rest();
            if self.stage == Stage::Open {
                self.check(now);
            }
        }
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            if matches!(self.stage, Stage::Closing { .. }) {
                for direction in [&mut self.up, &mut self.down] {
                    if !direction.is_resolved() {
                        direction.cut();
                    }
                }
                self.stage = Stage::Waiting { until: now + self.limits.peer_close };
            } else {
                self.stage = Stage::Over;
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Flushing { until }
            | Stage::Lingering { until }
            | Stage::Closing { until }
            | Stage::Waiting { until } => Some(until),
            Stage::Open | Stage::Over => None,
        }
    }

    /// Pings quiet legs; ends the tunnel for a leg that is not there any more.
    fn check(&mut self, now: Instant) {
        match self.client_watch.check(now, self.limits, &self.up, &self.down) {
            Finding::Fine => {}
            Finding::PingDue => {
                self.down.ping(ControlFrame::ping(None));
                self.client_watch.pinged(&self.down);
            }
            Finding::Silent => self.close(Outcome::ClientSilent, None, true),
            Finding::Stalled => self.close(Outcome::ClientStalled, None, true),
        }
        match self.upstream_watch.check(now, self.limits, &self.down, &self.up) {
            Finding::Fine => {}
            Finding::PingDue => {
                self.up.ping(ControlFrame::ping(Some((self.mask)())));
                self.upstream_watch.pinged(&self.up);
            }
            Finding::Silent => {
                self.close(Outcome::UpstreamSilent, Some((INTERNAL_ERROR, "upstream is silent")), false);
            }
            Finding::Stalled => {
                self.close(Outcome::UpstreamStalled, Some((INTERNAL_ERROR, "upstream does not read")), false);
            }
        }
    }

    /// Ends the tunnel from the edge's side. A leg that gets no Close frame is cut.
    fn close(&mut self, cause: Outcome, to_client: Option<(u16, &str)>, to_upstream: bool) {
        if matches!(self.stage, Stage::Closing { .. } | Stage::Waiting { .. } | Stage::Over) {
            return;
        }
        match to_client {
            Some((code, reason)) => self.down.finish(ControlFrame::close(code, reason, None)),
            None => self.down.cut(),
        }
        if to_upstream {
            self.up.finish(ControlFrame::close(GOING_AWAY, "", Some((self.mask)())));
        } else {
            self.up.cut();
        }
        self.cause = Some(cause);
        self.stage = Stage::Closing { until: Instant::now() + self.limits.close_grace };
    }

    fn note_beginning(&mut self) {
        if self.began.is_some() {
            return;
        }
        self.began = if self.up.close_seen() {
            Some(Outcome::ClientClosed)
        } else if self.down.close_seen() {
            Some(Outcome::UpstreamClosed)
        } else {
            match (self.up.source(), self.down.source(), self.up.sink(), self.down.sink()) {
                (Half::Failed(kind), ..) | (_, _, _, Half::Failed(kind)) => Some(Outcome::ClientError(kind)),
                (_, Half::Failed(kind), ..) | (_, _, Half::Failed(kind), _) => {
                    Some(Outcome::UpstreamError(kind))
                }
                (Half::Closed, ..) => Some(Outcome::ClientClosed),
                (_, Half::Closed, ..) => Some(Outcome::UpstreamClosed),
                _ => None,
            }
        };
    }

    /// The two ends are in charge: follow what they have closed.
    fn advance_by_the_ends(&mut self) -> bool {
        let mut again = false;
        // A leg that fails to be read will take nothing either.
        let (client, upstream) = (self.up.source(), self.down.source());
        for (leg, towards) in [(client, &mut self.down), (upstream, &mut self.up)] {
            if matches!(leg, Half::Failed(_)) && !towards.is_cut() {
                towards.cut();
                again = true;
            }
        }
        if self.up.is_done() && self.down.is_done() {
            self.stage = Stage::Over;
            return false;
        }
        let one_ended = self.up.is_sink_over() || self.down.is_sink_over();
        let both_closed = self.up.close_seen() && self.down.close_seen();
        let source_ended = self.up.source() != Half::Open || self.down.source() != Half::Open;
        if one_ended || both_closed {
            if !matches!(self.stage, Stage::Lingering { .. }) {
                self.stage = Stage::Lingering { until: Instant::now() + self.limits.half_close };
            }
        } else if source_ended && self.stage == Stage::Open {
            self.stage = Stage::Flushing { until: Instant::now() + self.limits.write_stall };
        }
        again
    }

    /// The edge is in charge: wait for its Close frames to be written, then for the ends to close.
    fn advance_by_the_edge(&mut self) -> bool {
        let (client_over, client_changed) = end_leg(&mut self.down, &self.up);
        let (upstream_over, upstream_changed) = end_leg(&mut self.up, &self.down);
        if client_over && upstream_over {
            self.stage = Stage::Over;
        } else if matches!(self.stage, Stage::Closing { .. })
            && self.up.is_resolved()
            && self.down.is_resolved()
        {
            self.stage = Stage::Waiting { until: Instant::now() + self.limits.peer_close };
        }
        client_changed || upstream_changed
    }
}

/// Shuts a leg down once the edge's part towards it is out and its own part has come: a Close frame or end of file.
/// Returns whether the leg is over, and whether its direction needs another turn.
fn end_leg(towards: &mut Direction, from: &Direction) -> (bool, bool) {
    let peer_closed = from.source() != Half::Open || from.close_seen();
    if !towards.is_resolved() || !(peer_closed || towards.is_cut()) {
        return (false, false);
    }
    let changed = !towards.is_shutdown_wanted();
    towards.shut_down();
    (towards.is_sink_over(), changed)
}
