//! What can be in the feed, and its stored form.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Position;
use crate::error::StoreError;
use crate::records::Record;

/// Something that replicas act upon. A follower must go on whatever comes: kinds are added, and during a rollout
/// replicas of two versions share one feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// A token family was revoked.
    FamilyRevoked {
        /// Whose tenant.
        tenant: Uuid,
        /// The family.
        family: Uuid,
    },
    /// All families that a user had were revoked.
    UserRevoked {
        /// Whose tenant.
        tenant: Uuid,
        /// The user.
        user: Uuid,
    },
    /// A tenant may do nothing for now.
    TenantSuspended {
        /// The tenant.
        tenant: Uuid,
    },
    /// A tenant may go on.
    TenantResumed {
        /// The tenant.
        tenant: Uuid,
    },
    /// A workspace was paused or is being removed: its terminals and sockets end. It may have been resumed since.
    WorkspaceEnded {
        /// Whose tenant.
        tenant: Uuid,
        /// The workspace.
        workspace: Uuid,
    },
    /// A tenant is gone, with all its logins.
    TenantRemoved {
        /// The tenant.
        tenant: Uuid,
    },
    /// A user is gone, with all their logins.
    UserRemoved {
        /// Whose tenant.
        tenant: Uuid,
        /// The user.
        user: Uuid,
    },
    /// Configuration that is in the store is another.
    ConfigurationChanged,
    /// A plugin's version was put to work, or back to work. It is a plugin of the tenant or of the operators.
    PluginActivated {
        /// For this tenant alone, or for all.
        tenant: Option<Uuid>,
        /// The plugin's name.
        plugin: String,
        /// Its version.
        version: String,
    },
    /// A plugin was taken out of work. It is a plugin of the tenant or of the operators.
    PluginDeactivated {
        /// For this tenant alone, or for all.
        tenant: Option<Uuid>,
        /// The plugin's name.
        plugin: String,
    },
    /// A kind this program does not know, or a record it cannot read: whoever caches something that may depend on it
    /// reads that anew.
    #[serde(other)]
    Unknown,
}

/// A change in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the feed.
    pub position: Position,
    /// When it was made, by the clock of who made it, in Unix milliseconds; `None` if that cannot be read.
    pub at: Option<i64>,
    /// What it is.
    pub change: Change,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct ChangeRecord {
    at: i64,
    #[serde(flatten)]
    change: Change,
}

impl Record for ChangeRecord {
    const FAMILY: &'static str = "changes";
}

/// The stored form of a change made at `at`.
pub(super) fn encode(at: i64, change: &Change) -> Result<Bytes, StoreError> {
    ChangeRecord { at, change: change.clone() }.encode()
}

/// The change in a stored form, whatever is in it.
pub(super) fn decode(position: Position, stored: &[u8]) -> Recorded {
    match ChangeRecord::decode(stored) {
        Ok(ChangeRecord { at, change }) => Recorded { position, at: Some(at), change },
        Err(error) => {
            tracing::warn!(%error, ?position, "a change that cannot be read");
            Recorded { position, at: None, change: Change::Unknown }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_stored_form_is_stable() {
        let (tenant, family) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let expected = concat!(
            "\u{1}{\"at\":5,\"kind\":\"family_revoked\",\"tenant\":\"00000000-0000-0000-0000-000000000001\",",
            "\"family\":\"00000000-0000-0000-0000-000000000002\"}"
        );
        assert_eq!(encode(5, &Change::FamilyRevoked { tenant, family }).unwrap(), expected.as_bytes());
        assert_eq!(encode(5, &Change::ConfigurationChanged).unwrap().len(), 40);
    }

    #[test]
    fn every_kind_comes_back_as_it_was() {
        let (tenant, user) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for change in [
            Change::FamilyRevoked { tenant, family: user },
            Change::UserRevoked { tenant, user },
            Change::TenantSuspended { tenant },
            Change::TenantResumed { tenant },
            Change::WorkspaceEnded { tenant, workspace: user },
            Change::TenantRemoved { tenant },
            Change::UserRemoved { tenant, user },
            Change::ConfigurationChanged,
            Change::PluginActivated { tenant: None, plugin: "p".into(), version: "1".into() },
            Change::PluginActivated { tenant: Some(tenant), plugin: "p".into(), version: "1".into() },
            Change::PluginDeactivated { tenant: None, plugin: "p".into() },
        ] {
            let found = decode(Position::START, &encode(7, &change).unwrap());
            assert_eq!(found, Recorded { position: Position::START, at: Some(7), change });
        }
    }

    #[test]
    fn what_a_newer_version_wrote_is_unknown_and_no_error() {
        let of = |stored: &[u8]| {
            let Recorded { at, change, .. } = decode(Position::START, stored);
            (at, change)
        };
        assert_eq!(of(b"\x01{\"at\":5,\"kind\":\"flag_set\",\"flag\":\"x\"}"), (Some(5), Change::Unknown));
        assert_eq!(of(b"\x02whatever"), (None, Change::Unknown));
        assert_eq!(of(b"\x01{\"at\":5,\"kind\":\"family_revoked\"}"), (None, Change::Unknown));
        assert_eq!(of(b""), (None, Change::Unknown));
    }
}
