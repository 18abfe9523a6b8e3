//! Whose a root prefix is: the store says so itself, in a key, and a prefix that holds something else is left
//! alone. A cluster may hold other programs' data, and a mistyped root must not mix the two.

use bytes::Bytes;

use crate::contract::{RangeRead, Row};
use crate::error::{StoreError, TransactionError};
use crate::keyspace::element::{Element, split};
use crate::keyspace::{GlobalFamily, Keyspace, TenantFamily};
use crate::store::{RetryPolicy, Store};
use crate::transaction::Transaction;

/// The format of keys and records that this program reads and writes. It goes up when an older program must not
/// touch what a newer one wrote.
const FORMAT: u64 = 1;
/// How much of a foreign key an error shows, in bytes.
const SHOWN_KEY_BYTES: usize = 64;

/// Why the keys under a root prefix cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// There are keys that this program has not written.
    #[error("the prefix `{root}` holds keys of another kind (such as {key}): choose another [store] root")]
    Foreign {
        /// The root prefix.
        root: String,
        /// The key, escaped and perhaps cut.
        key: String,
    },
    /// A newer version of this program wrote them.
    #[error(
        "the store under `{root}` has format {found}, this program knows formats up to {FORMAT}: \
         it was written by a newer version, run that one"
    )]
    Newer {
        /// The root prefix.
        root: String,
        /// The format it is in.
        found: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TransactionError for ClaimError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// Makes sure that the keys under `keys`' root are this program's, before anything else is written there. An
/// empty prefix is marked as ours; so is one whose keys are, from before there were marks. Nothing that is there
/// is changed, and doing it again changes nothing.
///
/// # Errors
///
/// The keys are another program's or a newer version's; or the store fails.
pub async fn claim(store: &Store, keys: &Keyspace) -> Result<(), ClaimError> {
    let identity = &keys.global(GlobalFamily::Identity, &());
    store
        .run(&RetryPolicy::idempotent(), async |transaction: Transaction| {
            if let Some(format) = transaction.get(identity).await? {
                return check_format(keys, &format);
            }
            for reverse in [false, true] {
                let Some(row) = outermost(&transaction, keys, reverse).await? else { break };
                if !is_ours(keys, &row.key) {
                    let key = shown(row.key.get(..SHOWN_KEY_BYTES).unwrap_or(&row.key));
                    return Err(ClaimError::Foreign { root: root_text(keys), key });
                }
            }
            transaction.set(identity.clone(), Bytes::copy_from_slice(&FORMAT.to_le_bytes()))?;
            Ok(())
        })
        .await
}

/// Whether this program may use a store whose identity is `stored`.
pub(crate) fn check_format(keys: &Keyspace, stored: &[u8]) -> Result<(), ClaimError> {
    let format = <[u8; 8]>::try_from(stored).map(u64::from_le_bytes).map_err(|_| StoreError::Record {
        family: GlobalFamily::Identity.name(),
        reason: format!("a format number has 8 bytes, not {}", stored.len()),
    })?;
    if format > FORMAT {
        return Err(ClaimError::Newer { root: root_text(keys), found: format });
    }
    Ok(())
}

/// The first or the last row under the root, however its key goes on.
async fn outermost(
    transaction: &Transaction,
    keys: &Keyspace,
    reverse: bool,
) -> Result<Option<Row>, StoreError> {
    // What goes on with 0xff belongs to another root: one whose text has a zero byte after ours.
    let end = [keys.root(), &[0xff]].concat();
    let read = RangeRead { reverse, ..RangeRead::new(keys.root(), end, 1) };
    Ok(transaction.range(read).await?.rows.pop())
}

/// Whether a key under the root is of a family this program knows.
fn is_ours(keys: &Keyspace, key: &[u8]) -> bool {
    let Some(below) = key.strip_prefix(keys.root()) else { return false };
    let (elements, rest) = split(below);
    let family = match elements.as_slice() {
        [Element::Text(area), Element::Text(name), ..] if area == "global" => {
            GlobalFamily::named(name).is_some()
        }
        [Element::Text(area), Element::Uuid(_), Element::Text(name), ..] if area == "tenant" => {
            TenantFamily::named(name).is_some()
        }
        _ => false,
    };
    family && rest.is_empty()
}

/// The root as the configuration has it.
fn root_text(keys: &Keyspace) -> String {
    foundationdb_tuple::unpack::<(String,)>(keys.root()).map_or_else(|_| shown(keys.root()), |(text,)| text)
}

fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}
