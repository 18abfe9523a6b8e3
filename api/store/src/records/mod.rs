//! The records in the store. A stored value is one format byte, then JSON. Each type counts its formats for
//! itself; every format it ever had stays readable, brought up to date by the type's own `upgrade`.
//!
//! Times are Unix milliseconds, but for [`TokenFamily`], which counts seconds as tokens do. What can be
//! changed by request carries a `version`, 1 at first and one more with each change; the repositories count
//! it.

mod agent;
mod audit;
mod auth;
mod conversation;
mod file;
mod plugin;
mod pod;
mod removal;
mod request;
mod session;
mod session_state;
mod setting;
mod tenant;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use self::agent::{Agent, normalise_name};
pub use self::audit::{AuditEntry, AuditHash, AuditHead, AuditLink, AuditObject, MalformedAuditHash};
pub use self::auth::TokenFamily;
pub use self::conversation::{Conversation, Message, MessageRole};
pub use self::file::{Content, File, FileVersion};
pub use self::plugin::{
    ActivationEnd, DEFAULT_ORDER, Plugin, PluginActivation, PluginFailure, PluginSettings, PluginTarget,
    PluginVersion,
};
pub use self::pod::PodAllocation;
pub use self::removal::Removal;
pub use self::request::{MAX_ANSWER_BYTES, StoredAnswer, StoredRequest};
pub use self::session::{Session, SessionStatus, SessionType};
pub use self::session_state::{SessionState, StatePart};
pub use self::setting::{Setting, SettingScope};
pub use self::tenant::{Role, Tenant, TenantStatus, User, UserStatus, normalise_email};
use crate::error::StoreError;

/// The `version` of a record that was just made.
pub const FIRST_VERSION: u64 = 1;

/// Something that is stored under a key of its own.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// The key family, for error messages.
    const FAMILY: &'static str;

    /// The format byte of what is written now; formats count from 1.
    const FORMAT: u8 = 1;

    /// Brings the fields of format `from` to the format after it.
    ///
    /// # Errors
    ///
    /// What is wrong with the fields, or that there never was such a format.
    fn upgrade(from: u8, fields: &mut Map<String, Value>) -> Result<(), String> {
        let _no_older_format = fields;
        Err(format!("there never was a format {from}"))
    }

    /// The stored form.
    fn encode(&self) -> Result<Bytes, StoreError> {
        let mut bytes = vec![Self::FORMAT];
        serde_json::to_writer(&mut bytes, self)
            .map_err(|error| unreadable::<Self>(format!("it cannot be encoded: {error}")))?;
        Ok(bytes.into())
    }

    /// Reads a stored form of this or an older format.
    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let Some((&format, json)) = bytes.split_first() else {
            return Err(unreadable::<Self>("it is empty".into()));
        };
        if format == Self::FORMAT {
            return serde_json::from_slice(json).map_err(|error| unreadable::<Self>(error.to_string()));
        }
        if format > Self::FORMAT {
            return Err(unreadable::<Self>(format!(
                "it has format {format}, this program knows formats up to {}",
                Self::FORMAT
            )));
        }
        let mut fields =
            serde_json::from_slice(json).map_err(|error| unreadable::<Self>(error.to_string()))?;
        for from in format..Self::FORMAT {
            Self::upgrade(from, &mut fields).map_err(unreadable::<Self>)?;
        }
        serde_json::from_value(Value::Object(fields))
            .map_err(|error| unreadable::<Self>(format!("upgraded from format {format}: {error}")))
    }
}

fn unreadable<R: Record>(reason: String) -> StoreError {
    StoreError::Record { family: R::FAMILY, reason }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use uuid::Uuid;

    use super::*;

    fn tenant() -> Tenant {
        Tenant {
            id: Uuid::from_u128(1),
            name: "Ann".into(),
            status: TenantStatus::Active,
            suspended_at: None,
            reason: None,
            created_at: 2,
            updated_at: 3,
            version: FIRST_VERSION,
        }
    }

    #[test]
    fn the_stored_form_is_stable() {
        let bytes = tenant().encode().unwrap();
        let expected = b"\x03{\"id\":\"00000000-0000-0000-0000-000000000001\",\"name\":\"Ann\",\
            \"status\":\"active\",\"suspended_at\":null,\"reason\":null,\"created_at\":2,\"updated_at\":3,\"version\":1}";
        assert_eq!(bytes.as_ref(), expected.as_slice());
        assert_eq!(Tenant::decode(&bytes).unwrap(), tenant());
    }

    #[test]
    fn what_cannot_be_read_names_the_family_and_the_format() {
        let error = Tenant::decode(b"\x04{}").unwrap_err().to_string();
        assert_eq!(
            error,
            "the stored tenant record cannot be read: it has format 4, this program knows formats up to 3"
        );
        let error = Tenant::decode(b"\x00{}").unwrap_err().to_string();
        assert_eq!(error, "the stored tenant record cannot be read: there never was a format 0");
        assert!(Tenant::decode(b"").is_err());
        assert!(Tenant::decode(b"\x03{\"id\":").is_err());
        assert!(Tenant::decode(b"\x01[]").is_err());
    }

    #[test]
    fn a_tenant_from_before_suspensions_is_active() {
        let read = Tenant::decode(
            b"\x02{\"id\":\"00000000-0000-0000-0000-000000000001\",\"name\":\"Ann\",\
              \"created_at\":2,\"updated_at\":3,\"version\":1}",
        );
        assert_eq!(read.unwrap(), tenant());
    }

    /// The bytes are what the program wrote before its records had versions.
    #[test]
    fn records_of_format_1_are_still_read() {
        let read = Tenant::decode(
            b"\x01{\"id\":\"00000000-0000-0000-0000-000000000001\",\"name\":\"Ann\",\"created_at\":2}",
        );
        assert_eq!(read.unwrap(), Tenant { updated_at: 2, ..tenant() });

        let user = User::decode(
            b"\x01{\"id\":\"842f0e35-08c5-4932-9d8d-6fdfff7ea4c9\",\
              \"tenant_id\":\"00000000-0000-0000-0000-000000000001\",\
              \"email\":\"ann@example.com\",\"password_hash\":\"$argon2id$v=19$m=19456,t=2,\
              p=1$c2FsdA$aGFzaA\",\"first_name\":\"Ann\",\"last_name\":\"Lee\",\
              \"role\":\"owner\",\"created_at\":1800000000000,\"updated_at\":1800000000001}",
        )
        .unwrap();
        assert_eq!((user.status, user.version), (UserStatus::Active, FIRST_VERSION));
        assert_eq!((user.email.as_str(), user.updated_at), ("ann@example.com", 1_800_000_000_001));

        let session = Session::decode(
            b"\x01{\"id\":\"842f0e35-08c5-4932-9d8d-6fdfff7ea4c9\",\"name\":\"first\",\
              \"tenant_id\":\"00000000-0000-0000-0000-000000000001\",\
              \"user_id\":\"00000000-0000-0000-0000-000000000002\",\
              \"workspace_path\":\"/home/ann\",\"type\":\"ai-studio\",\
              \"settings\":{\"theme\":\"dark\"},\"status\":\"active\",\
              \"conversation_id\":null,\"created_at\":5,\"updated_at\":6,\
              \"last_accessed_at\":7}",
        )
        .unwrap();
        assert_eq!((session.status, session.version), (SessionStatus::Active, FIRST_VERSION));
        assert_eq!((session.name.as_str(), session.last_accessed_at), ("first", 7));
        assert_eq!(session.forked_from, None);
    }
}
