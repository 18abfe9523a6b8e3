//! A backend that notes which keys are read and written, over any other.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use coditect_store::StoreError;
use coditect_store::contract::{
    Backend, BackendTransaction, Committed, Mutation, RangePage, RangeRead, ReadMode, Version, Watch,
};
use coditect_store::keyspace::path::to_path;

/// Keys that were touched: from the first up to, but without, the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) doing: &'static str,
    pub(crate) begin: Vec<u8>,
    pub(crate) end: Vec<u8>,
}

impl std::fmt::Display for Touched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} .. {}", self.doing, to_path(&self.begin), to_path(&self.end))
    }
}

/// What was touched since it was last asked.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<Touched>>);

impl Recorder {
    /// Everything since the last call.
    pub(crate) fn take(&self) -> Vec<Touched> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn range(&self, doing: &'static str, begin: &[u8], end: &[u8]) {
        self.0.lock().unwrap().push(Touched { doing, begin: begin.to_vec(), end: end.to_vec() });
    }

    fn key(&self, doing: &'static str, key: &[u8]) {
        let mut end = key.to_vec();
        end.push(0);
        self.range(doing, key, &end);
    }
}

/// The backend.
pub(crate) struct Recording {
    inner: Arc<dyn Backend>,
    recorder: Arc<Recorder>,
}

impl Recording {
    pub(crate) fn over(inner: Arc<dyn Backend>, recorder: Arc<Recorder>) -> Self {
        Self { inner, recorder }
    }
}

#[async_trait]
impl Backend for Recording {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn begin(&self) -> Box<dyn BackendTransaction> {
        Box::new(RecordingTransaction { inner: self.inner.begin(), recorder: Arc::clone(&self.recorder) })
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

struct RecordingTransaction {
    inner: Box<dyn BackendTransaction>,
    recorder: Arc<Recorder>,
}

#[async_trait]
impl BackendTransaction for RecordingTransaction {
    async fn read_version(&self) -> Result<Version, StoreError> {
        self.inner.read_version().await
    }

    async fn get(&self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, StoreError> {
        self.recorder.key("reads", key);
        self.inner.get(key, mode).await
    }

    async fn range(&self, read: RangeRead) -> Result<RangePage, StoreError> {
        self.recorder.range("reads", &read.begin, &read.end);
        self.inner.range(read).await
    }

    fn mutate(&self, mutation: Mutation) -> Result<(), StoreError> {
        match &mutation {
            Mutation::Set { key, .. }
            | Mutation::Clear { key }
            | Mutation::Atomic { key, .. }
            | Mutation::SetVersionstampedKey { key, .. }
            | Mutation::SetVersionstampedValue { key, .. } => self.recorder.key("writes", key),
            Mutation::ClearRange { begin, end } => self.recorder.range("clears", begin, end),
        }
        self.inner.mutate(mutation)
    }

    fn add_read_conflict(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        self.recorder.range("depends on", begin, end);
        self.inner.add_read_conflict(begin, end)
    }

    async fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        self.recorder.key("watches", key);
        self.inner.watch(key).await
    }

    async fn commit(&self) -> Result<Option<Committed>, StoreError> {
        self.inner.commit().await
    }
}
