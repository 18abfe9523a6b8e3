//! The world as a plugin under test sees it: a clock that only the test moves, randomness that is the same each time, a
//! log that is kept, and calls out that a script answers.

use crate::suite::{CallAnswer, Pairs, Response, ScriptedCall};
use bytes::Bytes;
use coditect_proxy_wasm::{
    CallFailure, CallRefused, CallSource, Environment, HttpCall, HttpCallResponse, HttpReply, LogLevel,
    LogRecord,
};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The clock at first: 2026-01-01T00:00:00Z, in nanoseconds since 1970.
pub const START: u64 = 1_767_225_600_000_000_000;
/// What randomness is made of.
const SEED: u64 = 0x5eed_0000_c0d1_7ec7;
/// The most log lines that are kept; of those beyond only the number is.
const MAX_LINES: usize = 100_000;
/// The tenant that the host's canary runs as; what it logs is nobody's.
const CANARY: &str = "(canary)";

/// One line that a plugin logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its level.
    pub level: LogLevel,
    /// Any bytes.
    pub message: Vec<u8>,
}

/// One call that a plugin made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeCall {
    /// Whom it called.
    pub upstream: String,
    /// What it sent, pseudo-headers first.
    pub headers: Pairs,
    /// And the body.
    pub body: Vec<u8>,
    /// And what came after it.
    pub trailers: Pairs,
    /// The place in the script of what it was answered; none where the script has no answer left.
    pub scripted: Option<usize>,
}

/// The world of one plugin. Shared with the host; nothing in it changes by itself.
#[derive(Default)]
pub struct World {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    realtime: u64,
    monotonic: u64,
    random: u64,
    /// Whether the canary's lines are kept too.
    keep_all: bool,
    lines: Vec<Line>,
    lines_dropped: usize,
    script: VecDeque<(usize, ScriptedCall)>,
    made: Vec<MadeCall>,
    waiting: VecDeque<(HttpReply, CallAnswer, Duration)>,
}

impl World {
    /// A world whose realtime clock starts at `realtime`, in nanoseconds since 1970.
    #[must_use]
    pub fn new(realtime: u64) -> Self {
        // A monotonic clock that starts at 0 would look like one that does not work.
        let state = State { realtime, monotonic: 1_000_000_000, random: SEED, ..State::default() };
        Self { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the realtime clock, in nanoseconds since 1970; the monotonic one stays.
    pub fn set_realtime(&self, realtime: u64) {
        self.state().realtime = realtime;
    }

    /// Sets both clocks, in nanoseconds, for formats that have only one.
    pub fn freeze(&self, nanoseconds: u64) {
        let mut state = self.state();
        (state.realtime, state.monotonic) = (nanoseconds, nanoseconds);
    }

    /// Moves both clocks on. Nothing runs by that: the engine is asked what is due.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let mut state = self.state();
        state.realtime = state.realtime.saturating_add(by);
        state.monotonic = state.monotonic.saturating_add(by);
    }

    /// Whether what the host's canary logs is kept too, to tell why a plugin is refused.
    pub fn keep_all_lines(&self, keep: bool) {
        self.state().keep_all = keep;
    }

    /// The lines so far, which are then forgotten; and how many more there were.
    pub fn take_lines(&self) -> (Vec<Line>, usize) {
        let mut state = self.state();
        (std::mem::take(&mut state.lines), std::mem::take(&mut state.lines_dropped))
    }

    /// Sets the answers to the calls to come; those that wait for the old script's are forgotten.
    pub fn set_script(&self, script: &[ScriptedCall]) {
        let mut state = self.state();
        state.script = script.iter().cloned().enumerate().collect();
        state.made.clear();
        let abandoned = std::mem::take(&mut state.waiting);
        drop(state);
        // Dropped without the lock: each tells its plugin that the call failed.
        drop(abandoned);
    }

    /// The calls since the script was set, and the places of the script's answers that nobody wanted.
    pub fn take_calls(&self) -> (Vec<MadeCall>, Vec<usize>) {
        let mut state = self.state();
        let unused = state.script.drain(..).map(|(place, _)| place).collect();
        (std::mem::take(&mut state.made), unused)
    }

    /// Answers the call that waits longest, on this thread; false where none does. A timeout takes its time.
    pub fn answer_next(&self) -> bool {
        let next = self.state().waiting.pop_front();
        let Some((reply, answer, timeout)) = next else { return false };
        match answer {
            CallAnswer::Response(response) => reply.send(Ok(answered(response))),
            CallAnswer::Fails(failure) => {
                if failure == CallFailure::Timeout {
                    self.advance(timeout);
                }
                reply.send(Err(failure));
            }
        }
        true
    }
}

fn answered(response: Response) -> HttpCallResponse {
    let mut headers: Pairs = vec![(b":status".to_vec(), response.status.to_string().into_bytes())];
    headers.extend(response.headers.0);
    HttpCallResponse { headers, body: Bytes::from(response.chunks.concat()), trailers: response.trailers.0 }
}

impl Environment for World {
    fn realtime_nanoseconds(&self) -> u64 {
        self.state().realtime
    }

    fn monotonic_nanoseconds(&self) -> u64 {
        self.state().monotonic
    }

    fn random(&self, buffer: &mut [u8]) {
        let mut state = self.state();
        for chunk in buffer.chunks_mut(8) {
            // SplitMix64 (Steele, Lea, Flood 2014): every seed gives a full period.
            state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
        }
    }

    fn log(&self, record: &LogRecord<'_>) {
        let mut state = self.state();
        if record.tenant == CANARY && !state.keep_all {
            return;
        }
        if state.lines.len() >= MAX_LINES {
            state.lines_dropped += 1;
            return;
        }
        state.lines.push(Line { level: record.level, message: record.message.to_vec() });
    }

    fn http_call(&self, _source: &CallSource, call: HttpCall, reply: HttpReply) -> Result<(), CallRefused> {
        let HttpCall { upstream, headers, body, trailers, timeout, most } = call;
        let mut state = self.state();
        let place = state.script.iter().position(|(_, scripted)| scripted.upstream == upstream);
        let scripted = place.and_then(|place| state.script.remove(place));
        let (place, answer) = match scripted {
            // As any answer from outside, one that is too large has failed.
            Some((place, ScriptedCall { answer: CallAnswer::Response(response), .. }))
                if response.chunks.iter().map(Bytes::len).sum::<usize>() > most =>
            {
                (Some(place), CallAnswer::Fails(CallFailure::TooLarge))
            }
            Some((place, scripted)) => (Some(place), scripted.answer),
            None => (None, CallAnswer::Fails(CallFailure::Unreachable)),
        };
        state.made.push(MadeCall { upstream, headers, body, trailers, scripted: place });
        state.waiting.push_back((reply, answer, timeout));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn randomness_is_the_same_each_time_and_not_constant() {
        let draw = |world: &World| {
            let mut bytes = [0; 20];
            world.random(&mut bytes);
            bytes
        };
        let (one, two) = (World::new(START), World::new(START));
        let first = draw(&one);
        assert_eq!(first, draw(&two));
        assert_ne!(first, draw(&one));
        assert!(first.iter().any(|byte| *byte != first[0]));
    }

    #[test]
    fn the_clock_moves_only_by_hand() {
        let world = World::new(START);
        let monotonic = world.monotonic_nanoseconds();
        assert_eq!(world.realtime_nanoseconds(), START);
        world.advance(Duration::from_secs(2));
        assert_eq!(world.realtime_nanoseconds(), START + 2_000_000_000);
        assert_eq!(world.monotonic_nanoseconds(), monotonic + 2_000_000_000);
        world.set_realtime(5);
        assert_eq!(
            (world.realtime_nanoseconds(), world.monotonic_nanoseconds()),
            (5, monotonic + 2_000_000_000)
        );
    }
}
