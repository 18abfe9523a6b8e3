//! Which transactions share a commit.
//!
//! A commit costs about the same however many transactions are in it. Those that wait when the last one is done
//! would make up half of the writers only: the other half was just answered and needs a moment to come back.
//! So that moment is given to them, if the last commit had shown that they are there; a lone writer never waits.

use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::request::Request;

/// The most transactions in one redb commit.
const GROUP_TRANSACTIONS: usize = 1024;
/// The wait is at most this part of what the last commit took.
const WAIT_SHARE: u32 = 8;
/// And at most this long.
const MAX_WAIT: Duration = Duration::from_micros(500);

/// What the last commit tells about the next one.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// How many transactions there may be: those just answered, and those that wait already.
    expected: usize,
    took: Duration,
}

impl Pace {
    /// Takes what waits behind `first`, and perhaps what comes in a moment.
    pub(super) fn gather(&self, first: Request, requests: &mut mpsc::Receiver<Request>) -> Vec<Request> {
        // Real time, whatever clock the store has: this bounds how long a processor is kept.
        let begun = Instant::now();
        let wait = (self.took / WAIT_SHARE).min(MAX_WAIT);
        let mut group = vec![first];
        loop {
            while group.len() < GROUP_TRANSACTIONS
                && let Ok(next) = requests.try_recv()
            {
                group.push(next);
            }
            if group.len() >= self.expected.min(GROUP_TRANSACTIONS) || begun.elapsed() >= wait {
                return group;
            }
            thread::yield_now();
        }
    }

    /// Notes a commit of so many transactions that took so long, and how many wait after it.
    pub(super) fn committed(&mut self, transactions: usize, took: Duration, waiting: usize) {
        *self = Self { expected: transactions + waiting, took };
    }
}
