//! Random choices, all of them from one seed.

use coditect_auth::{Entropy, SeededEntropy};
use coditect_store::contract::{AtomicOp, ReadMode};

use super::history::{Key, Stretch};
use super::values::Write;

/// What a transaction does next.
pub(super) enum Step {
    Get(Key, ReadMode),
    Range(Stretch),
    Write(Key, Write),
    ClearRange(Key, Key),
    AddReadConflict(Key, Key),
}

const OPERATIONS: [AtomicOp; 4] = [AtomicOp::Add, AtomicOp::Min, AtomicOp::Max, AtomicOp::CompareAndClear];

/// Makes choices.
pub(super) struct Choices(SeededEntropy);

impl Choices {
    pub(super) fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    /// A number below a bound.
    pub(super) fn below(&self, bound: u8) -> u8 {
        let mut byte = [0];
        self.0.fill(&mut byte);
        byte[0] % bound
    }

    /// One or two random bytes.
    fn value(&self) -> Vec<u8> {
        let mut value = [0; 2];
        self.0.fill(&mut value);
        value[..if self.below(4) == 0 { 1 } else { 2 }].to_vec()
    }

    fn mode(&self) -> ReadMode {
        if self.below(4) == 0 { ReadMode::Snapshot } else { ReadMode::Serializable }
    }

    /// A step on one of `keys` keys. `current` guesses the value of a key, so that comparisons succeed at times.
    pub(super) fn step(&self, keys: Key, current: impl Fn(Key) -> Option<Vec<u8>>) -> Step {
        let (a, b) = (self.below(keys), self.below(keys));
        let (low, high) = (a.min(b), a.max(b));
        match self.below(20) {
            0..=4 => Step::Get(a, self.mode()),
            5..=8 => {
                let (limit, reverse) = (usize::from(1 + self.below(6)), self.below(2) == 0);
                Step::Range(Stretch { low, high, limit, reverse, mode: self.mode() })
            }
            9..=12 => Step::Write(a, Write::Set(self.value())),
            13 => Step::Write(a, Write::Clear),
            14 => Step::ClearRange(low, high),
            15 => Step::AddReadConflict(low, high),
            _ => {
                let op = OPERATIONS[usize::from(self.below(4))];
                let guess = current(a).filter(|_| op == AtomicOp::CompareAndClear && self.below(2) == 0);
                Step::Write(a, Write::Atomic(op, guess.unwrap_or_else(|| self.value())))
            }
        }
    }
}
