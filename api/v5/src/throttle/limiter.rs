//! Token buckets by key, in bounded memory: the Generic Cell Rate Algorithm (ITU-T I.371), which needs one number for
//! each bucket, the time at which it will be full again.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use coditect_config::Rate;

/// What a bucket belongs to.
pub(super) type Key = u128;

const MICROS_PER_MILLI: i64 = 1000;
const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;

/// Token buckets that are all alike.
pub(super) struct Limiter {
    /// How long a token takes to come back, in microseconds.
    interval: i64,
    /// How long an empty bucket takes to fill, in microseconds.
    depth: i64,
    most: usize,
    buckets: Mutex<Buckets>,
}

/// When each bucket that is not full will be: Unix microseconds.
#[derive(Default)]
struct Buckets {
    full_at: HashMap<Key, i64>,
    /// The same, the fullest first.
    order: BTreeSet<(i64, Key)>,
}

impl Buckets {
    fn set(&mut self, key: Key, full_at: i64) {
        if let Some(old) = self.full_at.insert(key, full_at) {
            self.order.remove(&(old, key));
        }
        self.order.insert((full_at, key));
    }

    fn remove(&mut self, key: Key) {
        if let Some(old) = self.full_at.remove(&key) {
            self.order.remove(&(old, key));
        }
    }

    /// Forgets buckets that are full at `now`, and then the fullest until there are fewer than `most`.
    fn make_room(&mut self, now: i64, most: usize) {
        while let Some(&(full_at, key)) = self.order.first() {
            if full_at > now && self.full_at.len() < most {
                break;
            }
            self.order.pop_first();
            self.full_at.remove(&key);
        }
    }
}

impl Limiter {
    /// Buckets of this rate, of which at most `most` are remembered; `None` if there is no limit.
    pub(super) fn new(rate: Rate, most: usize) -> Option<Self> {
        let interval = MICROS_PER_MINUTE.checked_div(i64::from(rate.per_minute))?.max(1);
        let depth = interval.saturating_mul(i64::from(rate.burst.max(1)));
        Some(Self { interval, depth, most: most.max(1), buckets: Mutex::default() })
    }

    /// Takes a token at `now` (Unix milliseconds).
    ///
    /// # Errors
    /// If there is none: the whole seconds after which there will be one.
    pub(super) fn take(&self, key: Key, now: i64) -> Result<(), u64> {
        let now = now.saturating_mul(MICROS_PER_MILLI);
        let mut buckets = self.lock();
        let full_at = self.after_one_more(&mut buckets, key, now)?;
        buckets.make_room(now, self.most);
        buckets.set(key, full_at);
        Ok(())
    }

    /// Whether there is a token at `now` (Unix milliseconds).
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(super) fn look(&self, key: Key, now: i64) -> Result<(), u64> {
        self.after_one_more(&mut self.lock(), key, now.saturating_mul(MICROS_PER_MILLI)).map(drop)
    }

    /// Puts a token back at `now` (Unix milliseconds).
    pub(super) fn give_back(&self, key: Key, now: i64) {
        let now = now.saturating_mul(MICROS_PER_MILLI);
        let mut buckets = self.lock();
        let Some(full_at) = buckets.full_at.get(&key).map(|full_at| full_at.saturating_sub(self.interval))
        else {
            return;
        };
        if full_at > now {
            buckets.set(key, full_at);
        } else {
            buckets.remove(key);
        }
    }

    /// When the bucket would be full again had one more token been taken from it.
    fn after_one_more(&self, buckets: &mut Buckets, key: Key, now: i64) -> Result<i64, u64> {
        let empty = now.saturating_add(self.depth);
        let mut full_at = buckets.full_at.get(&key).map_or(now, |full_at| (*full_at).max(now));
        if full_at > empty {
            // No bucket is emptier than empty: the clock was set back.
            full_at = empty;
            buckets.set(key, empty);
        }
        let after = full_at.saturating_add(self.interval);
        if after <= empty {
            return Ok(after);
        }
        let wait = after.saturating_sub(empty).unsigned_abs();
        Err(wait.div_ceil(MICROS_PER_SECOND.unsigned_abs()))
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        // Both parts are changed without anything in between that could panic.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stdout)]

    use coditect_auth::{Entropy, SeededEntropy};

    use super::*;

    /// Six in a minute, three at once.
    fn limiter(most: usize) -> Limiter {
        Limiter::new(Rate { per_minute: 6, burst: 3 }, most).unwrap()
    }

    #[test]
    fn a_bucket_gives_its_burst_then_one_at_a_time_and_says_exactly_when() {
        let limiter = limiter(10);
        for _ in 0..3 {
            limiter.take(1, 0).unwrap();
        }
        assert_eq!(limiter.take(1, 0), Err(10));
        assert_eq!(limiter.take(1, 1), Err(10), "whole seconds, rounded up");
        assert_eq!(limiter.take(1, 9_999), Err(1));
        limiter.take(1, 10_000).unwrap();
        assert_eq!(limiter.take(1, 10_000), Err(10), "refusals cost nothing, and the one that came is taken");
        assert_eq!(limiter.look(1, 20_000), Ok(()));
        assert_eq!(limiter.look(1, 20_000), Ok(()), "looking takes nothing");
        limiter.take(2, 0).unwrap();
        for _ in 0..3 {
            limiter.take(1, 1_000_000).unwrap();
        }
        assert_eq!(limiter.take(1, 1_000_000), Err(10), "a bucket holds no more than its burst");
    }

    #[test]
    fn a_token_given_back_can_be_taken_again_and_no_more_than_there_were() {
        let limiter = limiter(10);
        for _ in 0..100 {
            limiter.take(1, 0).unwrap();
            limiter.give_back(1, 0);
        }
        limiter.give_back(1, 0);
        assert_eq!(limiter.lock().full_at.len(), 0, "a full bucket needs no memory");
        for _ in 0..3 {
            limiter.take(1, 0).unwrap();
        }
        assert_eq!(limiter.take(1, 0), Err(10));
    }

    #[test]
    fn zero_in_a_minute_is_no_limit() {
        assert!(Limiter::new(Rate { per_minute: 0, burst: 1 }, 10).is_none());
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out_for_longer_than_an_empty_bucket() {
        let limiter = limiter(10);
        for _ in 0..3 {
            limiter.take(1, 86_400_000).unwrap();
        }
        assert_eq!(limiter.take(1, 0), Err(10));
        limiter.take(1, 10_000).unwrap();
    }

    #[test]
    fn a_flood_of_keys_stays_within_bounds_and_frees_none_that_was_refused() {
        let limiter = limiter(100);
        for _ in 0..3 {
            limiter.take(0, 0).unwrap();
        }
        for key in 1..100_000 {
            limiter.take(key, 0).unwrap();
            assert!(limiter.lock().full_at.len() <= 100);
        }
        assert_eq!(limiter.take(0, 0), Err(10));
        limiter.take(1, 30_000).unwrap();
        let buckets = limiter.lock();
        assert_eq!((buckets.full_at.len(), buckets.order.len()), (1, 1), "full ones are forgotten");
    }

    #[test]
    fn no_sequence_gives_more_than_the_rate_allows() {
        let seed = 0x7407_0001;
        println!("seed {seed}");
        let entropy = SeededEntropy::new(seed);
        let limiter = limiter(4);
        let (mut now, mut taken) = (0, Vec::new());
        for _ in 0..20_000 {
            let mut dice = [0; 2];
            entropy.fill(&mut dice);
            now += i64::from(dice[0]) * 20;
            if limiter.take(u128::from(dice[1] % 3), now).is_ok() {
                taken.push((dice[1] % 3, now));
            }
            let buckets = limiter.lock();
            assert_eq!(buckets.full_at.len(), buckets.order.len());
        }
        for key in 0..3 {
            let times: Vec<i64> = taken.iter().filter(|(of, _)| *of == key).map(|(_, at)| *at).collect();
            // Any n + 3 takings span at least the time in which n tokens come back.
            for n in 1..6 {
                let least = i64::try_from(n).unwrap() * 10_000;
                assert!(times.windows(n + 3).all(|some| some[n + 2] - some[0] >= least), "{n}");
            }
        }
    }
}
