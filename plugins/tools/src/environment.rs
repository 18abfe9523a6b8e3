//! The world as a plugin under test sees it: a clock that only the test moves, randomness that is the same each time, a
//! log that is kept, and calls out that a script answers.

use crate::calls::{Back, MadeCall, Sent, Waiting};
use crate::suite::{CallAnswer, Pairs, ScriptedCall};
use bytes::Bytes;
use coditect_proxy_wasm::{
    CallFailure, CallRefused, CallSource, Environment, GrpcCall, GrpcEvents, GrpcHandle, HttpCall, HttpReply,
    LogLevel, LogRecord,
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
    waiting: VecDeque<Waiting>,
    /// What gRPC streams sent, by their place in `made`.
    sent: Vec<(usize, Sent)>,
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
        state.sent.clear();
        let abandoned = std::mem::take(&mut state.waiting);
        drop(state);
        // Dropped without the lock: each tells its plugin that the call failed.
        drop(abandoned);
    }

    /// The calls since the script was set, and the places of the script's answers that nobody wanted.
    pub fn take_calls(&self) -> (Vec<MadeCall>, Vec<usize>) {
        let mut state = self.state();
        let unused = state.script.drain(..).map(|(place, _)| place).collect();
        let mut made = std::mem::take(&mut state.made);
        for (place, sent) in std::mem::take(&mut state.sent) {
            if let Some(call) = made.get_mut(place) {
                call.body.extend(sent.bytes());
            }
        }
        (made, unused)
    }

    /// Answers the call that waits longest, on this thread; false where none does. A timeout takes its time.
    pub fn answer_next(&self) -> bool {
        let next = self.state().waiting.pop_front();
        let Some(waiting) = next else { return false };
        if waiting.times_out() {
            self.advance(waiting.timeout);
        }
        waiting.answer();
        true
    }
}

impl State {
    /// The script's next answer for an upstream, and its place in the script.
    fn scripted(&mut self, upstream: &str) -> (Option<usize>, CallAnswer) {
        let place = self.script.iter().position(|(_, scripted)| scripted.upstream == upstream);
        match place.and_then(|place| self.script.remove(place)) {
            Some((place, scripted)) => (Some(place), scripted.answer),
            None => (None, CallAnswer::Fails(CallFailure::Unreachable)),
        }
    }
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
        let (scripted, mut answer) = state.scripted(&upstream);
        // As any answer from outside, one that is too large has failed.
        if let CallAnswer::Response(response) = &answer
            && response.chunks.iter().map(Bytes::len).sum::<usize>() > most
        {
            answer = CallAnswer::Fails(CallFailure::TooLarge);
        }
        state.made.push(MadeCall { upstream, grpc: false, headers, body, trailers, scripted });
        state.waiting.push_back(Waiting { back: Back::Http(reply), answer, timeout });
        Ok(())
    }

    fn grpc_call(
        &self,
        _source: &CallSource,
        call: GrpcCall,
        events: GrpcEvents,
    ) -> Result<Box<dyn GrpcHandle>, CallRefused> {
        let mut state = self.state();
        let (scripted, answer) = state.scripted(&call.upstream);
        let path = format!("/{}/{}", call.service, call.method);
        let mut headers: Pairs =
            vec![(b":method".to_vec(), b"POST".to_vec()), (b":path".to_vec(), path.into_bytes())];
        headers.extend(call.metadata);
        let unary = call.message.is_some();
        let body = call.message.map(Vec::from).unwrap_or_default();
        let (upstream, trailers) = (call.upstream, Pairs::new());
        let (sent, place) = (Sent::default(), state.made.len());
        state.made.push(MadeCall { upstream, grpc: true, headers, body, trailers, scripted });
        state.sent.push((place, sent.clone()));
        let back = if unary { Back::Unary(events) } else { Back::Stream(events) };
        state.waiting.push_back(Waiting { back, answer, timeout: call.timeout.unwrap_or_default() });
        Ok(Box::new(sent))
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
