//! What the guest remembers between callbacks.

use crate::script::Script;
use guest_abi::action;
use std::cell::RefCell;
use std::collections::HashMap;

#[derive(Default)]
pub struct State {
    pub script: Script,
    pub root: u32,
    /// The stream that the last callback was for.
    pub stream: u32,
    /// What the callback at work will answer.
    pub answer: u32,
    /// Metric ids and queue tokens by name.
    pub names: HashMap<String, u32>,
    /// The token of the last gRPC call or stream.
    pub grpc: u32,
    /// Calls by token: their number, from 1, and the stream that made them.
    calls: HashMap<u32, (u32, u32)>,
    /// The version of shared data that was last read, by key.
    pub versions: HashMap<String, u32>,
    counts: HashMap<(u32, String), u32>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State { answer: action::CONTINUE, ..State::default() });
}

impl State {
    /// Lends the state. No host call may be made meanwhile: the host may call back.
    pub fn with<T>(use_it: impl FnOnce(&mut Self) -> T) -> T {
        STATE.with_borrow_mut(use_it)
    }

    pub fn enter(&mut self, stream: u32) {
        self.stream = stream;
    }

    pub fn is_stream(&mut self, context: u32) -> bool {
        let stream = context != self.root;
        if stream {
            self.stream = context;
        }
        stream
    }

    /// Counts something of the stream: 1 the first time.
    pub fn count(&mut self, what: &str) -> u32 {
        let count = self.counts.entry((self.stream, what.to_owned())).or_default();
        *count += 1;
        *count
    }

    /// Remembers a call that was made.
    pub fn called(&mut self, token: u32) {
        let number = self.count("call made");
        self.calls.insert(token, (number, self.stream));
    }

    /// The number of a call, and what kind of context its answer came to.
    pub fn reply(&mut self, context: u32, token: u32) -> (u32, &'static str) {
        let (number, stream) = self.calls.get(&token).copied().unwrap_or_default();
        if stream != 0 {
            self.stream = stream;
        }
        let who = if context == self.root {
            "the root"
        } else if context == stream {
            "its stream"
        } else {
            "another context"
        };
        (number, who)
    }
}
