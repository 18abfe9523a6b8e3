//! The keys of files and of their versions, and how they hold on to their contents.

use uuid::Uuid;

use crate::blobs::BlobHash;
use crate::error::StoreError;
use crate::keyspace::{Key, TenantFamily, TenantScope};
use crate::records::{File, FileVersion};
use crate::repo::indexed::{IndexEntry, Indexed, Versioned, unpack_value};
use crate::repo::load;
use crate::transaction::Transaction;

impl Indexed for File {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        file_key(scope, self.id)
    }

    fn entries(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        vec![IndexEntry::unique(
            by_path(scope, self.session_id, &self.path),
            foundationdb_tuple::pack(&(self.id,)),
        )]
    }

    fn references(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        vec![IndexEntry::plain(reference(scope, &self.content.sha256, self.id))]
    }
}

impl Versioned for File {
    fn version(&mut self) -> &mut u64 {
        &mut self.version
    }

    fn settle(&mut self, old: &Self) {
        self.id = old.id;
        self.tenant_id = old.tenant_id;
        self.session_id = old.session_id;
        self.created_at = old.created_at;
    }
}

impl Indexed for FileVersion {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        version_key(scope, self.session_id, &self.path, self.version)
    }

    fn references(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        vec![IndexEntry::valued(reference(scope, &self.content.sha256, self.id), self.place())]
    }
}

impl FileVersion {
    /// The value of its reference: the elements of its key.
    pub(super) fn place(&self) -> Vec<u8> {
        foundationdb_tuple::pack(&(self.session_id, self.path.as_str(), number(self.version)))
    }
}

/// The record that a reference to a blob is from, by the reference's value.
pub(crate) enum Referrer {
    /// The file that the reference's key names.
    File,
    /// The version with this key.
    Version(Key),
}

impl Referrer {
    pub(crate) fn read(scope: &TenantScope, value: &[u8]) -> Result<Self, StoreError> {
        if value.is_empty() {
            return Ok(Self::File);
        }
        let place: (Uuid, String, i64) = unpack_value(TenantFamily::BlobReferences.name(), value)?;
        Ok(Self::Version(scope.key(TenantFamily::FileVersions, &place)))
    }
}

pub(crate) fn file_key(scope: &TenantScope, id: Uuid) -> Key {
    scope.key(TenantFamily::Files, &(id,))
}

pub(super) fn by_path(scope: &TenantScope, session: Uuid, path: &str) -> Key {
    scope.key(TenantFamily::FilesByPath, &(session, path))
}

pub(super) fn version_key(scope: &TenantScope, session: Uuid, path: &str, version: u64) -> Key {
    scope.key(TenantFamily::FileVersions, &(session, path, number(version)))
}

/// A version as an element of a key.
pub(super) fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

fn reference(scope: &TenantScope, hash: &BlobHash, owner: Uuid) -> Key {
    scope.key(TenantFamily::BlobReferences, &(hash.0.as_slice(), owner))
}

/// The id that an entry of the index by path names.
pub(super) fn file_id(value: &[u8]) -> Result<Uuid, StoreError> {
    unpack_value(TenantFamily::FilesByPath.name(), value).map(|(id,): (Uuid,)| id)
}

/// The file at a path; checked at commit.
pub(super) async fn find(
    transaction: &Transaction,
    scope: &TenantScope,
    session: Uuid,
    path: &str,
) -> Result<Option<File>, StoreError> {
    let Some(value) = transaction.get(by_path(scope, session, path)).await? else {
        return Ok(None);
    };
    let file = load(transaction, &file_key(scope, file_id(&value)?)).await?;
    file.map(Some).ok_or(StoreError::Orphan { family: TenantFamily::FilesByPath.name() })
}
