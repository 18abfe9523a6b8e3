//! Blobs, written and read as the API does: streamed, hashed, several transactions.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use coditect_auth::{Clock, SystemClock};
use coditect_store::Keyspace;
use coditect_store::blobs::{BlobRef, Blobs};
use uuid::Uuid;

use crate::ours::Ours;

/// What the peer puts into one value, and how many of them into one commit: about what the store does.
pub(crate) const CHUNK_BYTES: usize = 63 << 10;
pub(crate) const BATCH_CHUNKS: usize = 32;
/// Bytes handed over at a time.
const PIECE_BYTES: usize = 256 << 10;

/// The chunks of the `n`-th blob; no two blobs are the same.
pub(crate) fn chunks(size: usize, n: u64) -> impl Iterator<Item = Vec<u8>> {
    let mut left = size;
    iter::from_fn(move || {
        let take = left.min(CHUNK_BYTES);
        left -= take;
        (take > 0).then(|| content(take, n))
    })
}

/// Bytes that differ from blob to blob.
pub(crate) fn content(size: usize, n: u64) -> Vec<u8> {
    let mut bytes = vec![b'b'; size];
    for (place, byte) in bytes.iter_mut().zip(n.to_le_bytes()) {
        *place = byte;
    }
    bytes
}

pub(crate) fn blobs(ours: &Ours) -> Blobs {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Blobs::new(ours.store.clone(), Keyspace::new("bench"), clock, Arc::clone(&ours.entropy))
}

pub(crate) async fn write(blobs: &Blobs, size: usize, n: u64) -> BlobRef {
    let mut upload = blobs.upload(Uuid::nil());
    let mut left = size;
    while left > 0 {
        let take = left.min(PIECE_BYTES);
        upload.write(&content(take, n)).await.unwrap();
        left -= take;
    }
    upload.finish().await.unwrap()
}

pub(crate) async fn read(blobs: &Blobs, blob: &BlobRef) -> u64 {
    let mut reader = blobs.open(Uuid::nil(), &blob.hash).await.unwrap().unwrap();
    let mut bytes = 0;
    while let Some(chunk) = reader.next_chunk().await.unwrap() {
        bytes += chunk.len() as u64;
    }
    bytes
}

impl Ours {
    pub(crate) fn blob_writes(&self, size: usize, turn: Duration) -> u64 {
        let deadline = Instant::now() + turn;
        let blobs = blobs(self);
        self.runtime.block_on(async {
            let mut done = 0;
            while done == 0 || Instant::now() < deadline {
                let n = self.count.fetch_add(1, Ordering::Relaxed);
                *self.last_blob.lock().await = Some(write(&blobs, size, n).await);
                done += 1;
            }
            done
        })
    }

    /// Reads the blob written last.
    pub(crate) fn blob_reads(&self, turn: Duration) -> u64 {
        let deadline = Instant::now() + turn;
        let blobs = blobs(self);
        self.runtime.block_on(async {
            let last = self.last_blob.lock().await;
            let blob = last.as_ref().unwrap();
            let mut done = 0;
            while done == 0 || Instant::now() < deadline {
                assert_eq!(read(&blobs, blob).await, blob.size);
                done += 1;
            }
            done
        })
    }
}
