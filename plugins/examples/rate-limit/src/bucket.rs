//! A token bucket in eight bytes.
//!
//! Kept is the time at which the bucket will be full. One token is one `interval`; taking it moves that time on by
//! one, and the bucket is empty when it is `burst` intervals ahead of now. Nothing has to be refilled.

use std::time::Duration;

/// A checked rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The time one token takes to come back; at least 1 ns.
    pub interval: Duration,
    /// Tokens in a full bucket; at least 1.
    pub burst: u32,
}

/// A bucket as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Since 1970.
    full_at: Duration,
}

/// What taking a token came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// There was one.
    Passed {
        /// How many are left.
        remaining: u32,
        /// How long until the bucket is full.
        full_in: Duration,
    },
    /// There was none. The bucket is another only where it was further ahead than an empty one can be.
    Refused {
        /// How long until there is one.
        retry_after: Duration,
        /// How long until the bucket is full.
        full_in: Duration,
    },
}

impl Bucket {
    /// Reads a stored bucket; one that was never stored, or is not ours, is full.
    pub fn read(stored: Option<&[u8]>) -> Self {
        let nanoseconds = stored.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        Self { full_at: Duration::from_nanos(nanoseconds) }
    }

    /// The bytes to store.
    pub fn write(self) -> [u8; 8] {
        u64::try_from(self.full_at.as_nanos()).unwrap_or(u64::MAX).to_le_bytes()
    }

    /// Takes a token at the time `now`, if there is one. The bucket that comes out is to be stored where it is another.
    pub fn take(self, rate: &Rate, now: Duration) -> (Self, Taken) {
        let capacity = rate.interval.saturating_mul(rate.burst);
        // Never further ahead than an empty bucket is: the clock may have been set back, the rate made smaller.
        let full_in = self.full_at.saturating_sub(now).min(capacity);
        let after = full_in.saturating_add(rate.interval);
        if after > capacity {
            return (
                Self { full_at: now.saturating_add(full_in) },
                Taken::Refused { retry_after: after - capacity, full_in },
            );
        }
        let left = (capacity - after).as_nanos() / rate.interval.as_nanos().max(1);
        let remaining = u32::try_from(left).unwrap_or(u32::MAX);
        (Self { full_at: now.saturating_add(after) }, Taken::Passed { remaining, full_in: after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOW: Duration = Duration::from_secs(1_700_000_000);
    /// Ten a second, three at once.
    const RATE: Rate = Rate { interval: Duration::from_millis(100), burst: 3 };

    fn full() -> Bucket {
        Bucket::read(None)
    }

    fn passes(bucket: &mut Bucket, now: Duration) -> bool {
        let (next, taken) = bucket.take(&RATE, now);
        *bucket = Bucket::read(Some(&next.write()));
        matches!(taken, Taken::Passed { .. })
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut bucket = full();
        assert_eq!(bucket.take(&RATE, NOW).1, Taken::Passed { remaining: 2, full_in: SECOND / 10 });
        let passed = (0..10).filter(|_| passes(&mut bucket, NOW)).count();
        assert_eq!(passed, 3);
        let (same, refused) = bucket.take(&RATE, NOW);
        assert_eq!(same, bucket);
        assert_eq!(refused, Taken::Refused { retry_after: SECOND / 10, full_in: SECOND * 3 / 10 });
        let in_ten_seconds =
            (1..=1000_u32).filter(|step| passes(&mut bucket, NOW + SECOND / 100 * *step)).count();
        assert_eq!(in_ten_seconds, 100);
    }

    #[test]
    fn retry_after_is_when_it_passes_and_not_before() {
        let mut bucket = full();
        while passes(&mut bucket, NOW) {}
        let later = NOW + Duration::from_millis(30);
        let (_, Taken::Refused { retry_after, .. }) = bucket.take(&RATE, later) else { unreachable!() };
        assert!(!passes(&mut { bucket }, later + retry_after - Duration::from_nanos(1)));
        assert!(passes(&mut bucket, later + retry_after));
    }

    #[test]
    fn a_clock_set_back_refuses_for_one_interval_at_most() {
        let mut bucket = full();
        while passes(&mut bucket, NOW) {}
        let back = NOW - SECOND * 86_400;
        let (moved, Taken::Refused { retry_after, .. }) = bucket.take(&RATE, back) else { unreachable!() };
        assert_eq!(retry_after, RATE.interval);
        bucket = moved;
        assert!(passes(&mut bucket, back + RATE.interval));
        assert!(!passes(&mut bucket, back + RATE.interval));
    }

    #[test]
    fn bytes_that_are_no_bucket_are_a_full_one() {
        for bytes in [&b""[..], b"1234567", b"123456789"] {
            assert_eq!(Bucket::read(Some(bytes)), full());
        }
        let far = Bucket::read(Some(&[0xff; 8]));
        assert!(
            matches!(far.take(&RATE, NOW).1, Taken::Refused { retry_after, .. } if retry_after == RATE.interval)
        );
    }
}
