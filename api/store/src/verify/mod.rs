//! Whether what is stored agrees with itself: every key is of a known family and shape, every record can be
//! read, every index entry that a record must have is there, every entry is some record's, and blobs are whole.
//!
//! The walk needs memory for one page of keys, and about 32 bytes for each blob of one tenant, and takes as long as it
//! takes; others may write meanwhile.
//! What looks wrong is looked at once more, alone and in one transaction, before it is reported.

mod contents;
mod inspect;
mod subject;
mod usage;

use std::collections::BTreeMap;
use std::fmt;

use futures::future::try_join_all;

pub(crate) use self::inspect::Inspected;
use self::inspect::inspect;
use crate::blobs::Depth;
use crate::contract::Row;
use crate::error::StoreError;
use crate::keyspace::Keyspace;
use crate::store::{RetryPolicy, Store};

/// Keys inspected at a time, in one transaction: enough to hide a cluster's latency, few enough for its 5 s.
pub(crate) const KEYS_AT_A_TIME: usize = 100;
/// The most problems a report names; it counts them all.
pub const MAX_PROBLEMS: usize = 1000;

/// What a walk over all keys found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many keys there are.
    pub keys: u64,
    /// How many of them hold records.
    pub records: u64,
    /// How many keys each family has, by its name.
    pub families: BTreeMap<&'static str, u64>,
    /// The first [`MAX_PROBLEMS`] problems, in key order.
    pub problems: Vec<Problem>,
    /// How many problems there are in all.
    pub problem_count: u64,
}

impl Report {
    /// True if everything agrees.
    pub fn is_clean(&self) -> bool {
        self.problem_count == 0
    }

    fn add_problems(&mut self, problems: Vec<Problem>) {
        for problem in problems {
            self.problem_count += 1;
            if self.problems.len() < MAX_PROBLEMS {
                self.problems.push(problem);
            }
        }
    }
}

/// Something that does not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path of the key; see [`crate::keyspace::path`].
    pub path: String,
    /// What is wrong with it.
    pub disagreement: Disagreement,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.disagreement)
    }
}

/// What can be wrong with a key or its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// No family has keys like this one.
    #[error("no known family has this key")]
    UnknownFamily,
    /// The family is known, but its keys have other elements.
    #[error("malformed; keys of its family are: {expected}")]
    MalformedKey {
        /// The elements after the family's name.
        expected: &'static str,
    },
    /// The value cannot be read.
    #[error("{reason}")]
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
    /// The record's ids are those of another key.
    #[error("the record belongs at {place}")]
    Misplaced {
        /// The path of that key.
        place: String,
    },
    /// The record lacks an index entry.
    #[error("the record lacks its entry {entry}")]
    MissingEntry {
        /// The entry's path.
        entry: String,
    },
    /// An index entry of the record has another value than it should.
    #[error("the record's entry {entry} has a wrong value")]
    WrongEntry {
        /// The entry's path.
        entry: String,
    },
    /// The index entry names a record that does not exist, or that does not have this entry.
    #[error("the entry names {record}, which {}", if *exists { "does not have it" } else { "does not exist" })]
    Orphan {
        /// The record's path.
        record: String,
        /// Whether there is such a record.
        exists: bool,
    },
    /// What a record describes is not what is kept of it.
    #[error("its content cannot be read: {reason}")]
    Content {
        /// What is wrong.
        reason: &'static str,
    },
    /// A tenant's counter is not what its files add up to.
    #[error("the counter says {counted}, but there is {found}")]
    Usage {
        /// What the counter says.
        counted: u64,
        /// What the records add up to.
        found: u64,
    },
    /// A blob, its references and its content disagree.
    #[error("{reason}")]
    Blob {
        /// What is wrong.
        reason: String,
    },
}

impl Store {
    /// Walks all keys of a key space, then the blobs of each tenant (their chunks' number and lengths, not their bytes) and what it uses; `progress` is told the number of keys so far, page by page.
    ///
    /// # Errors
    ///
    /// As a read's, once retries did not help. Nothing is written.
    pub async fn verify(
        &self,
        keys: &Keyspace,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<Report, StoreError> {
        let mut report = Report::default();
        let mut scan = self.scan(keys.span());
        while let Some(rows) = scan.next_page().await? {
            for some in rows.chunks(KEYS_AT_A_TIME) {
                for (row, inspected) in some.iter().zip(self.inspect_all(keys, some).await?) {
                    report.keys += 1;
                    report.records += u64::from(inspected.is_record);
                    if let Some(family) = inspected.family {
                        *report.families.entry(family).or_default() += 1;
                    }
                    if !inspected.problems.is_empty() {
                        report.add_problems(self.inspect_again(keys, &row.key).await?);
                    }
                }
            }
            progress(report.keys);
        }
        self.verify_contents(keys, Depth::Shape, &mut report).await?;
        self.verify_usage(keys, &mut report).await?;
        Ok(report)
    }

    /// Inspects rows that were read before; what they refer to is read now.
    pub(crate) async fn inspect_all(
        &self,
        keys: &Keyspace,
        rows: &[Row],
    ) -> Result<Vec<Inspected>, StoreError> {
        self.run(&RetryPolicy::idempotent(), |transaction| async move {
            let transaction = &transaction;
            try_join_all(rows.iter().map(|row| inspect(keys, transaction, &row.key, &row.value))).await
        })
        .await
    }

    /// What is wrong with a key at one moment; nothing if it is gone.
    pub(crate) async fn inspect_again(
        &self,
        keys: &Keyspace,
        key: &[u8],
    ) -> Result<Vec<Problem>, StoreError> {
        self.run(&RetryPolicy::idempotent(), |transaction| async move {
            match transaction.get_snapshot(key).await? {
                Some(value) => Ok(inspect(keys, &transaction, key, &value).await?.problems),
                None => Ok(Vec::new()),
            }
        })
        .await
    }
}
