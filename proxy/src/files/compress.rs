//! Compressed variants of files: made once, by few threads at a time, kept in a cache of bounded size.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};
use tokio::sync::{Semaphore, oneshot};

use super::content::{Content, Found};
use super::encoding::Coding;
use super::error::FileError;
use super::tag::Tag;

/// Bytes of compressed variants kept per [`super::Files`].
pub(super) const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// Files of this size and below are sent as they are: a header costs as much as compression would save.
pub(super) const SMALLEST_BYTES: u64 = 1024;
/// Files above this size are sent as they are.
pub(super) const LARGEST_BYTES: u64 = 16 * 1024 * 1024;

/// Compressions at one time; each holds a file (at most [`LARGEST_BYTES`]) and as much again of output.
const WORKERS: usize = 2;
/// How long a request waits for its variant before it gets the file as it is. The work goes on, for the next.
const PATIENCE: Duration = Duration::from_secs(5);
/// What an entry weighs beside its bytes.
const ENTRY_OVERHEAD_BYTES: u64 = 128;
/// An estimate only; the cache's limit is its weight.
const EXPECTED_ENTRIES: usize = 1024;

const BROTLI_QUALITY: i32 = 5;
const BROTLI_WINDOW_BITS: i32 = 22;
const GZIP_LEVEL: u32 = 6;

type Key = (Tag, Coding);

/// `None`: compression did not make the file smaller.
type Variant = Option<Bytes>;

/// The compressed variants known so far.
#[derive(Debug)]
pub(super) struct Variants {
    cache: Arc<Cache<Key, Variant, ByBytes>>,
    workers: Arc<Semaphore>,
    /// Compressions begun.
    #[cfg(test)]
    pub(super) begun: std::sync::atomic::AtomicUsize,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Key, Variant> for ByBytes {
    fn weight(&self, _: &Key, variant: &Variant) -> u64 {
        ENTRY_OVERHEAD_BYTES + variant.as_ref().map_or(0, |bytes| bytes.len() as u64)
    }
}

impl Variants {
    /// At most `capacity` bytes are kept.
    pub(super) fn new(capacity: u64) -> Self {
        // One shard: a shard holds no entry above its own share, and the largest variant must fit.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(EXPECTED_ENTRIES)
            .weight_capacity(capacity)
            .build();
        let cache = match options {
            Ok(options) => Cache::with_options(options, ByBytes, Default::default(), Default::default()),
            // Cannot happen: both required options are set.
            Err(_) => Cache::with_weighter(EXPECTED_ENTRIES, capacity, ByBytes),
        };
        Variants {
            cache: Arc::new(cache),
            workers: Arc::new(Semaphore::new(WORKERS)),
            #[cfg(test)]
            begun: Default::default(),
        }
    }

    /// `file` in `coding`, from the cache or made now; `None` where it is to be sent as it is. Requests for one
    /// variant wait for one compression. Cancellation safe: the result of work begun is kept.
    pub(super) async fn get(&self, file: &Found, coding: Coding) -> Result<Option<Bytes>, FileError> {
        match tokio::time::timeout(PATIENCE, self.load((file.tag, coding), &file.content)).await {
            Ok(variant) => variant,
            Err(_) => {
                tracing::warn!(name = file.name, "compression takes too long, sent uncompressed");
                Ok(None)
            }
        }
    }

    async fn load(&self, key: Key, content: &Content) -> Result<Variant, FileError> {
        let guard = match self.cache.get_value_or_guard_async(&key).await {
            Ok(variant) => return Ok(variant),
            Err(guard) => guard,
        };
        let closed = |_| FileError::Read(io::Error::other("the compression worker ended early"));
        let permit = Arc::clone(&self.workers)
            .acquire_owned()
            .await
            .map_err(|error| FileError::Read(io::Error::other(error)))?;
        #[cfg(test)]
        self.begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (send, receive) = oneshot::channel();
        let (cache, content) = (Arc::clone(&self.cache), content.clone());
        let worker = tokio::task::spawn_blocking(move || {
            let result = content.read_all().map(|bytes| compress(&bytes, key.1));
            drop(permit);
            // Nobody waits any more: keep the result ourselves.
            if let Err(Ok(variant)) = send.send(result) {
                cache.insert(key, variant);
            }
        });
        // Its end is seen through the channel.
        drop(worker);
        let variant = receive.await.map_err(closed)??;
        if guard.insert(variant.clone()).is_err() {
            tracing::debug!("a compressed variant was stored twice");
        }
        Ok(variant)
    }
}

/// `None` where the result is not smaller, or the encoder fails, which sending the file as it is mends.
fn compress(bytes: &[u8], coding: Coding) -> Option<Bytes> {
    let mut output = Bounded { bytes: Vec::new(), limit: bytes.len().saturating_sub(1) };
    let done = match coding {
        Coding::Brotli => brotli_into(bytes, &mut output),
        Coding::Gzip => gzip_into(bytes, &mut output),
    };
    match done {
        Ok(()) => {
            output.bytes.shrink_to_fit();
            Some(output.bytes.into())
        }
        Err(error) if error.kind() == io::ErrorKind::StorageFull => None,
        Err(error) => {
            tracing::warn!(%error, coding = coding.token(), "compression failed, sent uncompressed");
            None
        }
    }
}

fn brotli_into(mut bytes: &[u8], output: &mut Bounded) -> io::Result<()> {
    let params = brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: BROTLI_WINDOW_BITS,
        size_hint: bytes.len(),
        ..Default::default()
    };
    brotli::BrotliCompress(&mut bytes, output, &params).map(drop)
}

fn gzip_into(bytes: &[u8], output: &mut Bounded) -> io::Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(output, flate2::Compression::new(GZIP_LEVEL));
    encoder.write_all(bytes)?;
    encoder.finish().map(drop)
}

/// Takes `limit` bytes and refuses more, so that output which grows past its input is given up at once.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + chunk.len() > self.limit {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::atomic::Ordering;
    use std::task::{Context, Poll, Waker};

    use super::super::tests::{noise, text};
    use super::*;

    fn file(bytes: Vec<u8>) -> Found {
        let tag = Tag::of_content(&bytes);
        let length = bytes.len() as u64;
        Found { name: "a.txt".into(), tag, length, modified: None, content: Content::Memory(bytes.into()) }
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_by_weight() {
        let variants = Variants::new(64 * 1024);
        for seed in 0..40 {
            let variant = variants.get(&file(text(seed, 8 * 1024)), Coding::Gzip).await.unwrap();
            assert!(variant.unwrap().len() > 3 * 1024);
            assert!(variants.cache.weight() <= 64 * 1024);
        }
        assert!(variants.cache.len() > 5, "small entries are kept at all");
    }

    #[tokio::test]
    async fn a_variant_that_would_not_be_smaller_is_remembered_as_such() {
        let variants = Variants::new(CACHE_BYTES);
        let file = file(noise(1, 50_000));
        for coding in [Coding::Brotli, Coding::Gzip, Coding::Brotli, Coding::Gzip] {
            assert_eq!(variants.get(&file, coding).await.unwrap(), None);
        }
        assert_eq!(variants.begun.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn the_largest_variant_fits_the_cache() {
        let variants = Variants::new(CACHE_BYTES);
        let largest = Bytes::from(vec![0; usize::try_from(LARGEST_BYTES).unwrap()]);
        let key = (Tag::of_content(b""), Coding::Gzip);
        variants.cache.insert(key, Some(largest));
        assert_eq!(variants.cache.len(), 1);
    }

    #[tokio::test]
    async fn work_begun_for_a_request_that_went_away_is_kept() {
        let variants = Variants::new(CACHE_BYTES);
        let file = file(text(1, 200_000));
        {
            let mut request = std::pin::pin!(variants.get(&file, Coding::Brotli));
            let mut context = Context::from_waker(Waker::noop());
            assert!(matches!(request.as_mut().poll(&mut context), Poll::Pending));
        }
        let kept = async {
            while variants.cache.get(&(file.tag, Coding::Brotli)).is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), kept).await.unwrap();
        assert!(variants.get(&file, Coding::Brotli).await.unwrap().is_some());
        assert_eq!(variants.begun.load(Ordering::Relaxed), 1);
    }
}
