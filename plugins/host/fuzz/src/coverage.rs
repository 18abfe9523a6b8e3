//! The coverage counters that LLVM's `sancov` pass puts into a program: one byte for each edge of its control flow.
//!
//! The pass makes every instrumented crate hand over its counters before `main` begins. Where the program was built
//! without it there are none, and nothing is ever new.
#![allow(unsafe_code, reason = "the counters are raw memory, and the callback's name is the compiler's")]

use std::sync::{Mutex, PoisonError};

/// Where the counters of each crate begin, and how many there are.
static COUNTERS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Called by each instrumented object file's constructor.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    let (start, length) = (start as usize, (stop as usize).saturating_sub(start as usize));
    let mut counters = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
    if length > 0 && !counters.contains(&(start, length)) {
        counters.push((start, length));
    }
}

/// What was reached so far: for each edge the orders of magnitude in which it was, as bits.
pub(crate) struct Coverage {
    counters: Vec<(usize, usize)>,
    seen: Vec<u8>,
}

impl Coverage {
    pub(crate) fn new() -> Self {
        let counters = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let edges = counters.iter().map(|(_, length)| length).sum();
        Self { counters, seen: vec![0; edges] }
    }

    /// Edges there are.
    pub(crate) fn edges(&self) -> usize {
        self.seen.len()
    }

    /// Edges that were reached.
    pub(crate) fn reached(&self) -> usize {
        self.seen.iter().filter(|bits| **bits != 0).count()
    }

    /// Sets all counters to zero.
    pub(crate) fn reset(&self) {
        for (start, length) in &self.counters {
            // SAFETY: the compiler's own memory, alive as long as the program. Other threads may count in it at the same
            // time; a count that is lost or doubled changes which inputs are kept and nothing else.
            unsafe { std::ptr::write_bytes(*start as *mut u8, 0, *length) }
        }
    }

    /// Adds what was counted since the last reset; whether something of it is new.
    pub(crate) fn take(&mut self) -> bool {
        let (mut new, mut edge) = (false, 0);
        for (start, length) in &self.counters {
            // SAFETY: as above.
            let counts = unsafe { std::slice::from_raw_parts(*start as *const u8, *length) };
            for (count, seen) in counts.iter().zip(&mut self.seen[edge..]) {
                if *count != 0 {
                    let bit = magnitude(*count);
                    new |= *seen & bit == 0;
                    *seen |= bit;
                }
            }
            edge += length;
        }
        new
    }
}

/// 1, 2, 3, 4 to 7, 8 to 15, 16 to 31, 32 to 127, more: one bit each.
fn magnitude(count: u8) -> u8 {
    match count {
        0..=1 => 1,
        2 => 2,
        3 => 4,
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        128.. => 128,
    }
}
