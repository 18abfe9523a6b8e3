//! The peer: redb used directly, one durable transaction for each commit.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coditect_store::DEFAULT_CACHE_BYTES;
use redb::{Database, ReadableDatabase, TableDefinition};

use crate::blobs::{BATCH_CHUNKS, CHUNK_BYTES, chunks};
use crate::ours::{FILLED, VALUE, row_key, spread, write_key};

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("raw");

pub(crate) struct Raw {
    database: Database,
    count: AtomicU64,
    last_blob: AtomicU64,
}

impl Raw {
    pub(crate) fn open(path: &Path) -> Self {
        let database = Database::builder().set_cache_size(DEFAULT_CACHE_BYTES).create(path).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(TABLE).unwrap();
        write.commit().unwrap();
        Self { database, count: AtomicU64::new(0), last_blob: AtomicU64::new(0) }
    }

    fn put(&self, rows: &[(Vec<u8>, Vec<u8>)]) {
        let write = self.database.begin_write().unwrap();
        {
            let mut table = write.open_table(TABLE).unwrap();
            for (key, value) in rows {
                table.insert(key.as_slice(), value.as_slice()).unwrap();
            }
        }
        write.commit().unwrap();
    }

    /// Commits one row at a time from each of `writers` threads.
    pub(crate) fn commits(&self, writers: u64, turn: Duration) -> u64 {
        let deadline = Instant::now() + turn;
        let done = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..writers {
                let done = &done;
                scope.spawn(move || {
                    while Instant::now() < deadline {
                        let n = self.count.fetch_add(1, Ordering::Relaxed);
                        self.put(&[(write_key(n), VALUE.to_vec())]);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        done.into_inner()
    }

    pub(crate) fn fill(&self) {
        let rows: Vec<_> = (0..FILLED).map(|n| (row_key(n), VALUE.to_vec())).collect();
        rows.chunks(10_000).for_each(|rows| self.put(rows));
    }

    /// Reads `rows` rows in a read transaction of its own each time.
    pub(crate) fn reads(&self, rows: u64, turn: Duration) -> u64 {
        let deadline = Instant::now() + turn;
        let mut done = 0;
        while Instant::now() < deadline {
            let read = self.database.begin_read().unwrap();
            let table = read.open_table(TABLE).unwrap();
            let first = spread(done);
            if rows == 1 {
                let value = table.get(row_key(first).as_slice()).unwrap().unwrap().value().to_vec();
                assert_eq!(value.len(), VALUE.len());
            } else {
                let found: Vec<_> = table
                    .range::<&[u8]>(row_key(first).as_slice()..row_key(first + rows).as_slice())
                    .unwrap()
                    .map(|row| {
                        row.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())).unwrap()
                    })
                    .collect();
                assert_eq!(found.len() as u64, rows);
            }
            done += 1;
        }
        done
    }

    /// Writes blobs in the chunks and batches the store uses.
    pub(crate) fn blob_writes(&self, size: usize, turn: Duration) -> u64 {
        let deadline = Instant::now() + turn;
        let mut done = 0;
        while done == 0 || Instant::now() < deadline {
            let blob = self.count.fetch_add(1, Ordering::Relaxed);
            let rows: Vec<_> = chunks(size, blob)
                .enumerate()
                .map(|(n, chunk)| (format!("blob/{blob:012}/{n:06}").into_bytes(), chunk))
                .collect();
            self.last_blob.store(blob, Ordering::Relaxed);
            rows.chunks(BATCH_CHUNKS).for_each(|rows| self.put(rows));
            done += 1;
        }
        done
    }

    /// Reads the blob written last.
    pub(crate) fn blob_reads(&self, turn: Duration) -> u64 {
        let deadline = Instant::now() + turn;
        let last = self.last_blob.load(Ordering::Relaxed);
        let prefix = |end| format!("blob/{last:012}{end}");
        let mut done = 0;
        while done == 0 || Instant::now() < deadline {
            let read = self.database.begin_read().unwrap();
            let table = read.open_table(TABLE).unwrap();
            let bytes: usize = table
                .range::<&[u8]>(prefix("/").as_bytes()..prefix("0").as_bytes())
                .unwrap()
                .map(|row| black_box(row.unwrap().1.value().to_vec()).len())
                .sum();
            assert!(bytes >= CHUNK_BYTES);
            done += 1;
        }
        done
    }
}
