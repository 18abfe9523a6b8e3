//! What the disk takes to make a small write durable: what a durable answer cannot be faster than.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Writes that are timed.
const WRITES: usize = 200;
/// Bytes of each.
const BYTES: usize = 4096;

/// The 50th and 95th percentile of a write of 4 KiB and its sync, in `directory`.
pub(crate) fn sync_times(directory: &Path) -> (Duration, Duration) {
    let mut file = File::create(directory.join("sync-times")).unwrap();
    file.write_all(&vec![0; BYTES * WRITES]).unwrap();
    file.sync_all().unwrap();
    let mut times: Vec<Duration> = (0..WRITES)
        .map(|number| {
            let start = Instant::now();
            file.seek(SeekFrom::Start((number * BYTES) as u64)).unwrap();
            file.write_all(&[1; BYTES]).unwrap();
            file.sync_data().unwrap();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    (times[WRITES / 2], times[WRITES * 95 / 100])
}
