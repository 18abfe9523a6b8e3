//! The state of workspaces, part by part: JSON of the front end's own, up to [`MAX_STATE_BYTES`] each.
//!
//! A part is written without reading anything that another part's write, or a change of the workspace's own record,
//! writes: none of them ever waits for, or repeats, another. That a workspace is not given state while it is being
//! removed is held all the same: the removal clears the very keys that every write has read.

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed};
use super::sessions::owned_at_snapshot;
use super::{Context, UpdateError, load, save};
use crate::blobs::BlobHash;
use crate::contract::RangeRead;
use crate::error::StoreError;
use crate::keyspace::{Key, KeySpan, TenantFamily, TenantScope};
use crate::records::{FIRST_VERSION, Record, SessionState, StatePart};
use crate::transaction::Transaction;

/// The largest part, in bytes.
pub const MAX_STATE_BYTES: usize = 1 << 20;
/// The bytes of every chunk but the last: below the store's value limit, and four parts in one transaction are below
/// half of its own.
const CHUNK_BYTES: usize = 90_000;
/// The most chunks a part has.
const MAX_CHUNKS: usize = MAX_STATE_BYTES.div_ceil(CHUNK_BYTES);

/// The state of workspaces.
pub struct SessionStates<'a> {
    context: &'a Context,
}

impl<'a> SessionStates<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// A part of a user's workspace, all of one moment; `None` if it was never written.
    ///
    /// # Errors
    ///
    /// [`UpdateError::NotFound`] if the user has no such workspace.
    pub async fn get(
        &self,
        tenant: Uuid,
        user: Uuid,
        session: Uuid,
        part: StatePart,
    ) -> Result<Option<(SessionState, Bytes)>, UpdateError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .run(|transaction| async move {
                owned_at_snapshot(&transaction, scope, user, session).await?.ok_or(UpdateError::NotFound)?;
                Ok(read(&transaction, scope, session, part).await?)
            })
            .await
    }

    /// Writes a part of a user's workspace at `now` (Unix milliseconds). Nothing changes if it is that already.
    ///
    /// With `expected` 0 it must never have been written; with another number it must have that version.
    ///
    /// # Errors
    ///
    /// [`UpdateError::NotFound`] if the user has no such workspace, [`UpdateError::VersionMismatch`] if it has
    /// another version, [`StoreError::ValueTooLarge`] beyond [`MAX_STATE_BYTES`].
    #[allow(clippy::too_many_arguments, reason = "one operation of the API, and each argument is its")]
    pub async fn put(
        &self,
        tenant: Uuid,
        user: Uuid,
        session: Uuid,
        part: StatePart,
        content: &Bytes,
        expected: Option<u64>,
        now: i64,
    ) -> Result<SessionState, UpdateError> {
        if content.len() > MAX_STATE_BYTES {
            return Err(StoreError::ValueTooLarge { size: content.len() }.into());
        }
        let scope = &self.context.keys.tenant(tenant);
        let sha256 = BlobHash::of(content);
        self.context
            .once(|transaction| async move {
                owned_at_snapshot(&transaction, scope, user, session).await?.ok_or(UpdateError::NotFound)?;
                // Checked at commit, so that this and a removal of the workspace cannot both happen.
                let old = load::<SessionState>(&transaction, &key(scope, session, part)).await?;
                let current = old.as_ref().map_or(0, |old| old.version);
                if expected.is_some_and(|expected| expected != current) {
                    return Err(UpdateError::VersionMismatch { current });
                }
                if let Some(old) = old.filter(|old| old.sha256 == sha256) {
                    return Ok(old);
                }
                let version = current.saturating_add(1).max(FIRST_VERSION);
                let new = described(tenant, session, part, content, sha256, version, now);
                write(&transaction, scope, &new, content)?;
                Ok(new)
            })
            .await
    }
}

impl Indexed for SessionState {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        key(scope, self.session_id, self.part)
    }
}

fn key(scope: &TenantScope, session: Uuid, part: StatePart) -> Key {
    scope.key(TenantFamily::SessionStates, &(session, part.name()))
}

fn chunk(scope: &TenantScope, session: Uuid, part: StatePart, number: u32) -> Key {
    scope.key(TenantFamily::SessionStateContents, &(session, part.name(), number))
}

/// The keys of a part's chunks, for those who verify; their values are not told.
pub(crate) fn chunk_entries(scope: &TenantScope, state: &SessionState) -> Vec<IndexEntry> {
    (0..state.chunks)
        .map(|number| IndexEntry::plain(chunk(scope, state.session_id, state.part, number)))
        .collect()
}

fn described(
    tenant_id: Uuid,
    session_id: Uuid,
    part: StatePart,
    content: &[u8],
    sha256: BlobHash,
    version: u64,
    updated_at: i64,
) -> SessionState {
    let size = content.len() as u64;
    // At most MAX_CHUNKS, see `put`.
    let chunks = u32::try_from(content.len().div_ceil(CHUNK_BYTES)).unwrap_or(u32::MAX);
    SessionState { tenant_id, session_id, part, version, updated_at, size, sha256, chunks }
}

/// Writes a part, whatever there was.
fn write(
    transaction: &Transaction,
    scope: &TenantScope,
    state: &SessionState,
    content: &Bytes,
) -> Result<(), StoreError> {
    let SessionState { session_id, part, .. } = *state;
    let span = scope.span(TenantFamily::SessionStateContents, &(session_id, part.name()));
    transaction.clear_range(span.begin, span.end)?;
    for number in 0..state.chunks {
        let begin = number as usize * CHUNK_BYTES;
        let end = content.len().min(begin + CHUNK_BYTES);
        transaction.set(chunk(scope, session_id, part, number), content.slice(begin..end))?;
    }
    save(transaction, key(scope, session_id, part), state)
}

/// A part as it was when the transaction began; checked at commit against nothing.
async fn read(
    transaction: &Transaction,
    scope: &TenantScope,
    session: Uuid,
    part: StatePart,
) -> Result<Option<(SessionState, Bytes)>, StoreError> {
    let Some(stored) = transaction.get_snapshot(key(scope, session, part)).await? else {
        return Ok(None);
    };
    let state = SessionState::decode(&stored)?;
    let content = content(transaction, scope, session, part).await?;
    match damage(&state, &content) {
        None => Ok(Some((state, content))),
        Some(reason) => Err(StoreError::Record { family: "session_state_contents", reason: reason.into() }),
    }
}

/// A part's chunks in their order, put together; beyond what a part can have, one more at most.
async fn content(
    transaction: &Transaction,
    scope: &TenantScope,
    session: Uuid,
    part: StatePart,
) -> Result<Bytes, StoreError> {
    let KeySpan { mut begin, end } = scope.span(TenantFamily::SessionStateContents, &(session, part.name()));
    let (mut content, mut left) = (BytesMut::new(), MAX_CHUNKS + 1);
    while left > 0 {
        let page = transaction.range(RangeRead::new(begin, end.clone(), left).snapshot()).await?;
        left = left.saturating_sub(page.rows.len());
        page.rows.iter().for_each(|row| content.extend_from_slice(&row.value));
        let Some(last) = page.rows.into_iter().next_back().filter(|_| page.more) else { break };
        begin = last.key;
        begin.push(0);
    }
    Ok(content.freeze())
}

/// What is wrong with a part's bytes.
fn damage(state: &SessionState, content: &[u8]) -> Option<&'static str> {
    if content.len() as u64 != state.size {
        Some("its length is another one")
    } else if BlobHash::of(content) != state.sha256 {
        Some("its SHA-256 is another one")
    } else {
        None
    }
}

/// What is wrong with the bytes of the part whose record is at `key`; nothing if it is gone, or if the record cannot
/// be read, which is told elsewhere.
pub(crate) async fn verify(
    transaction: &Transaction,
    scope: &TenantScope,
    key: &[u8],
) -> Result<Option<&'static str>, StoreError> {
    let Some(stored) = transaction.get_snapshot(key).await? else { return Ok(None) };
    let Ok(state) = SessionState::decode(&stored) else { return Ok(None) };
    let content = content(transaction, scope, state.session_id, state.part).await?;
    Ok(damage(&state, &content))
}

/// Gives a workspace that has none the state of another, all of one moment. At most four parts: about 4.3 MB.
pub(super) async fn copy(
    transaction: &Transaction,
    scope: &TenantScope,
    from: Uuid,
    to: Uuid,
    now: i64,
) -> Result<(), StoreError> {
    for part in StatePart::ALL {
        if let Some((state, content)) = read(transaction, scope, from, part).await? {
            let new = described(scope.id(), to, part, &content, state.sha256, FIRST_VERSION, now);
            write(transaction, scope, &new, &content)?;
        }
    }
    Ok(())
}

/// Removes all state of a workspace. Whoever is about to write some finds the workspace gone, or runs again.
pub(super) fn remove(
    transaction: &Transaction,
    scope: &TenantScope,
    session: Uuid,
) -> Result<(), StoreError> {
    for family in [TenantFamily::SessionStates, TenantFamily::SessionStateContents] {
        let span = scope.span(family, &(session,));
        transaction.clear_range(span.begin, span.end)?;
    }
    Ok(())
}
