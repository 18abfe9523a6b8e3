//! What a key's value is about, family by family: what a record must have, and whose an index entry is.

use coditect_auth::AuthSession;
use uuid::Uuid;

use crate::error::StoreError;
use crate::keyspace::element::Element;
use crate::keyspace::locate::{Located, Place};
use crate::keyspace::{GlobalFamily, Key, Keyspace, TenantFamily, TenantScope};
use crate::records::{
    Agent, AuditEntry, AuditHead, Conversation, File, FileVersion, Message, Plugin, PluginActivation,
    PluginVersion, PodAllocation, Record, Removal, Session, SessionState, Setting, StoredRequest, Tenant,
    TokenFamily, User,
};
use crate::repo::files::{Referrer, file_key};
use crate::repo::indexed::{IndexEntry, Indexed, unpack_value};
use crate::repo::plugin_activations::{activation_key, unpack_target};
use crate::repo::plugin_versions::version_held_by;
use crate::repo::usage::number;
use crate::repo::{removals, session_states};

/// What there is to check about a key of a known family.
pub(super) enum Subject {
    /// A record.
    Record {
        /// The key it should have, by what it says itself.
        key: Key,
        /// The entries that must be there.
        entries: Vec<IndexEntry>,
    },
    /// An index entry.
    Entry {
        /// The tenant of the record it names.
        scope: TenantScope,
        /// The record's key.
        record: Key,
        /// What entries the record has, from its stored form.
        entries: ReadEntries,
    },
    /// Nothing beyond its shape.
    Plain,
}

type ReadEntries = fn(&Keyspace, &TenantScope, &[u8]) -> Result<Vec<IndexEntry>, StoreError>;

/// What a value is about.
///
/// # Errors
///
/// [`StoreError::Record`] if the value cannot be read.
pub(super) fn subject(keys: &Keyspace, located: &Located<'_>, value: &[u8]) -> Result<Subject, StoreError> {
    match &located.place {
        Place::Global(family) => global(keys, *family, &located.elements, value),
        Place::Tenant(scope, family) => match record(keys, *family, value)? {
            Some(record) => Ok(record),
            None => Ok(entry(scope, *family, &located.elements, value)?.unwrap_or(Subject::Plain)),
        },
    }
}

fn global(
    keys: &Keyspace,
    family: GlobalFamily,
    elements: &[Element<'_>],
    value: &[u8],
) -> Result<Subject, StoreError> {
    Ok(match (family, elements) {
        (GlobalFamily::Tenants, [Element::Uuid(tenant)]) => {
            let scope = keys.tenant(*tenant);
            entry_of::<Tenant>(&scope, scope.tenant())
        }
        (GlobalFamily::UsersByEmail, _) => {
            let (tenant, user): (Uuid, Uuid) = unpack_value(family.name(), value)?;
            let scope = keys.tenant(tenant);
            entry_of::<User>(&scope, scope.user(user))
        }
        (GlobalFamily::AuthSessionTenant, [Element::Uuid(id)]) => {
            let (tenant,): (Uuid,) = unpack_value(family.name(), value)?;
            let scope = keys.tenant(tenant);
            entry_of::<AuthSession>(&scope, scope.auth_session(*id))
        }
        (GlobalFamily::SessionsUnsettled, [Element::Uuid(tenant), Element::Uuid(id)]) => {
            let scope = keys.tenant(*tenant);
            entry_of::<Session>(&scope, scope.session(*id))
        }
        (GlobalFamily::PodAllocations, _) => {
            let held = PodAllocation::decode(value)?;
            let key = keys.global(family, &(held.pool.as_str(), held.pod.as_str()));
            Subject::Record { key, entries: Vec::new() }
        }
        (GlobalFamily::Removals, _) => {
            let removal = Removal::decode(value)?;
            let key = removals::key(keys, removal.tenant_id, removal.user_id);
            Subject::Record { key, entries: Vec::new() }
        }
        _ => Subject::Plain,
    })
}

/// The subject of a key whose value is a record.
fn record(keys: &Keyspace, family: TenantFamily, value: &[u8]) -> Result<Option<Subject>, StoreError> {
    let read = match family {
        TenantFamily::Tenant => record_of::<Tenant>,
        TenantFamily::Users => record_of::<User>,
        TenantFamily::AuthSessions => record_of::<AuthSession>,
        TenantFamily::Families => record_of::<TokenFamily>,
        TenantFamily::Sessions => record_of::<Session>,
        TenantFamily::SessionStates => record_of::<SessionState>,
        TenantFamily::Conversations => record_of::<Conversation>,
        TenantFamily::Messages => record_of::<Message>,
        TenantFamily::Audit => record_of::<AuditEntry>,
        TenantFamily::AuditHead => record_of::<AuditHead>,
        TenantFamily::Files => record_of::<File>,
        TenantFamily::FileVersions => record_of::<FileVersion>,
        TenantFamily::Agents => record_of::<Agent>,
        TenantFamily::Settings => record_of::<Setting>,
        TenantFamily::Plugins => record_of::<Plugin>,
        TenantFamily::PluginVersions => record_of::<PluginVersion>,
        TenantFamily::PluginActivations => record_of::<PluginActivation>,
        TenantFamily::Requests => record_of::<StoredRequest>,
        // Blobs have checks of their own: contents.rs.
        _ => return Ok(None),
    };
    read(keys, value).map(Some)
}

fn record_of<R: Indexed>(keys: &Keyspace, value: &[u8]) -> Result<Subject, StoreError> {
    let record = R::decode(value)?;
    let scope = keys.tenant(record.tenant());
    Ok(Subject::Record { key: record.key(&scope), entries: entries_of(keys, &scope, &record) })
}

/// The subject of a key of an index.
fn entry(
    scope: &TenantScope,
    family: TenantFamily,
    elements: &[Element<'_>],
    value: &[u8],
) -> Result<Option<Subject>, StoreError> {
    use Element::{Int, Text, Uuid as Id};
    use TenantFamily as F;
    Ok(Some(match (family, elements) {
        (F::AuthSessionsByFamily, [_, Id(id)]) => entry_of::<AuthSession>(scope, scope.auth_session(*id)),
        (F::FamiliesByUser, [_, _, Id(id)]) => entry_of::<TokenFamily>(scope, scope.family(*id)),
        (F::SessionsByUser | F::SessionsByPath, [_, _, Id(id)]) => {
            entry_of::<Session>(scope, scope.session(*id))
        }
        (F::SessionAccesses, [Id(id)]) => Subject::Entry {
            scope: scope.clone(),
            record: scope.session(*id),
            entries: |_, scope, value| {
                Ok(vec![IndexEntry::plain(scope.session_access(Session::decode(value)?.id))])
            },
        },
        (F::SessionStateContents, [Id(id), Element::Text(part), _]) => Subject::Entry {
            scope: scope.clone(),
            record: scope.key(F::SessionStates, &(*id, part.as_ref())),
            entries: |_, scope, value| {
                Ok(session_states::chunk_entries(scope, &SessionState::decode(value)?))
            },
        },
        (F::ConversationsByUser | F::ConversationsBySession, [_, _, Id(id)]) => {
            entry_of::<Conversation>(scope, scope.key(F::Conversations, &(id,)))
        }
        (F::MessagesById, [Id(conversation), Id(id)]) => {
            let (at,): (i64,) = unpack_value(family.name(), value)?;
            entry_of::<Message>(scope, scope.key(F::Messages, &(conversation, at, id)))
        }
        (F::AuditByActor, [_, Int(at), Id(id)]) | (F::AuditByObject, [_, _, Int(at), Id(id)]) => {
            entry_of::<AuditEntry>(scope, scope.key(F::Audit, &(at, id)))
        }
        (F::FilesByPath, _) => {
            let (id,): (Uuid,) = unpack_value(family.name(), value)?;
            entry_of::<File>(scope, file_key(scope, id))
        }
        (F::BlobReferences, [_, Id(id)]) => match version_held_by(scope, value) {
            Some(version) => entry_of::<PluginVersion>(scope, version),
            None => match Referrer::read(scope, value)? {
                Referrer::File => entry_of::<File>(scope, file_key(scope, *id)),
                Referrer::Version(key) => entry_of::<FileVersion>(scope, key),
            },
        },
        (F::Usage, _) => {
            number(value)?;
            Subject::Plain
        }
        (F::AgentsByName, _) => {
            let (id,): (Uuid,) = unpack_value(family.name(), value)?;
            entry_of::<Agent>(scope, scope.key(F::Agents, &(id,)))
        }
        (F::PluginActivationsByTarget, [Text(plugin), _, _]) => {
            let (activation, _, _) = unpack_target(value)?;
            entry_of::<PluginActivation>(scope, activation_key(scope, plugin, activation))
        }
        (F::RequestsByTime, [_, Id(user), Element::Text(key)]) => {
            entry_of::<StoredRequest>(scope, scope.key(F::Requests, &(user, key.as_ref())))
        }
        _ => return Ok(None),
    }))
}

fn entry_of<R: Indexed>(scope: &TenantScope, record: Key) -> Subject {
    Subject::Entry {
        scope: scope.clone(),
        record,
        entries: |keys, scope, value| Ok(entries_of(keys, scope, &R::decode(value)?)),
    }
}

fn entries_of<R: Indexed>(keys: &Keyspace, scope: &TenantScope, record: &R) -> Vec<IndexEntry> {
    let mut entries = record.entries(scope);
    entries.extend(record.global_entries(keys, scope));
    entries.extend(record.references(scope));
    entries
}
