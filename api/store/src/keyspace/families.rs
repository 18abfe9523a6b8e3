//! Every key family of the program, in one place: its name in the key, its owner, and the shape of its keys
//! and values. `coditect-edge store ls` prints keys by these names, and `store verify` knows from here what
//! belongs in the store.
//!
//! Key elements: `uuid` a UUID, `text` a string, `int` a signed number, `bytes` raw bytes, `stamp` a
//! [versionstamp](crate::contract::Versionstamp) as the tuple layer has it. `–` as a key means that the
//! family is a single key. Keys are checked against these words: kind first, elements separated by commas.

/// What is known of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyInfo {
    /// Its name, the element after `global` or after the tenant's id.
    pub name: &'static str,
    /// The file in `api/store/src` that alone reads and writes it.
    pub owner: &'static str,
    /// The elements after the name.
    pub key: &'static str,
    /// The value.
    pub value: &'static str,
}

macro_rules! families {
    ($(#[$doc:meta])* $vis:vis enum $type:ident { $($variant:ident: $name:literal, $owner:literal, $key:literal, $value:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $type { $($variant,)* }

        impl $type {
            /// Every family, in the order of this file.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// What is known of it.
            pub(crate) const fn info(self) -> FamilyInfo {
                match self {
                    $(Self::$variant => FamilyInfo { name: $name, owner: $owner, key: $key, value: $value },)*
                }
            }

            /// Its name in the key.
            pub(crate) const fn name(self) -> &'static str {
                self.info().name
            }

            /// The family of that name.
            pub(crate) fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|family| family.name() == name)
            }
        }
    };
}

families! {
    /// A family outside all tenants, under `(root, "global", name, …)`.
    pub(crate) enum GlobalFamily {
        Identity: "store", "identity.rs", "–", "format number, 8 bytes little-endian";
        Import: "import", "dump/import.rs", "–", "the newest import: uuid, 16 bytes, then 0 under way or 1 ended";
        Idempotency: "idempotency", "idempotent.rs", "int minute of its making, uuid marker", "attempt number, 4 bytes";
        Changes: "changes", "changes/", "stamp", "record Change";
        ChangesHead: "changes_head", "changes/", "–", "stamp of the newest change, 10 bytes";
        ChangesHorizon: "changes_horizon", "changes/", "–", "stamp of the newest change removed, 10 bytes";
        Tenants: "tenants", "repo/tenants.rs", "uuid tenant", "–";
        UsersByEmail: "users_by_email", "repo/users.rs", "text e-mail (normalised)", "tuple (uuid tenant, uuid user)";
        AuthSessionTenant: "auth_session_tenant", "repo/auth_sessions.rs", "uuid auth session", "tuple (uuid tenant)";
        TicketsUsed: "tickets_used", "repo/tickets.rs", "int minute of its end, uuid ticket", "–";
        Removals: "removals", "repo/removals/", "uuid tenant, uuid user or zeros", "record Removal";
        SessionsUnsettled: "sessions_unsettled", "repo/sessions.rs", "uuid tenant, uuid session", "–";
        PodAllocations: "pod_allocations", "repo/pods.rs", "text pool, text pod", "record PodAllocation";
    }
}

families! {
    /// A family of one tenant, under `(root, "tenant", tenant id, name, …)`; reached through a
    /// [`super::TenantScope`] only.
    pub(crate) enum TenantFamily {
        Tenant: "tenant", "repo/tenants.rs", "–", "record Tenant";
        Users: "users", "repo/users.rs", "uuid user", "record User";
        AuthSessions: "auth_sessions", "repo/auth_sessions.rs", "uuid auth session", "record AuthSession";
        AuthSessionsByFamily: "auth_sessions_by_family", "repo/auth_sessions.rs", "uuid family, uuid auth session", "–";
        Families: "families", "repo/token_families.rs", "uuid family", "record TokenFamily";
        FamiliesByUser: "families_by_user", "repo/token_families.rs", "uuid user, int end in Unix seconds, uuid family", "–";
        Sessions: "sessions", "repo/sessions.rs", "uuid session", "record Session";
        SessionsByUser: "sessions_by_user", "repo/sessions.rs", "uuid user, int creation in Unix ms, uuid session", "–";
        SessionsByPath: "sessions_by_path", "repo/sessions.rs", "uuid user, text workspace path, uuid session", "–";
        SessionAccesses: "session_accesses", "repo/session_accesses.rs", "uuid session", "Unix ms, 8 bytes little-endian";
        SessionStates: "session_states", "repo/session_states.rs", "uuid session, text part", "record SessionState";
        SessionStateContents: "session_state_contents", "repo/session_states.rs", "uuid session, text part, int chunk", "raw bytes";
        Conversations: "conversations", "repo/conversations.rs", "uuid conversation", "record Conversation";
        ConversationsByUser: "conversations_by_user", "repo/conversations.rs", "uuid user, int creation in Unix ms, uuid conversation", "–";
        ConversationsBySession: "conversations_by_session", "repo/conversations.rs", "uuid session, int creation in Unix ms, uuid conversation", "–";
        Messages: "messages", "repo/messages.rs", "uuid conversation, int creation in Unix ms, uuid message", "record Message";
        MessagesById: "messages_by_id", "repo/messages.rs", "uuid conversation, uuid message", "tuple (int creation)";
        Audit: "audit", "repo/audit.rs, audit/", "int time in Unix ms, uuid entry", "record AuditEntry";
        AuditHead: "audit_head", "repo/audit.rs", "–", "record AuditHead";
        AuditByActor: "audit_by_actor", "repo/audit.rs", "uuid actor, int time in Unix ms, uuid entry", "–";
        AuditByObject: "audit_by_object", "repo/audit.rs", "text kind, text object, int time in Unix ms, uuid entry", "–";
        Files: "files", "repo/files/", "uuid file", "record File";
        FilesByPath: "files_by_path", "repo/files/", "uuid session, text path", "tuple (uuid file)";
        FileVersions: "file_versions", "repo/files/", "uuid session, text path, int version", "record FileVersion";
        Usage: "usage", "repo/usage.rs", "text what", "number, 8 bytes little-endian";
        Agents: "agents", "repo/agents.rs", "uuid agent", "record Agent";
        AgentsByName: "agents_by_name", "repo/agents.rs", "text name (normalised)", "tuple (uuid agent)";
        Settings: "settings", "repo/settings.rs", "text scope, uuid owner, text key", "record Setting";
        Requests: "requests", "repo/requests.rs", "uuid user, text key", "record StoredRequest";
        RequestsByTime: "requests_by_time", "repo/requests.rs", "int time in Unix ms, uuid user, text key", "–";
        Plugins: "plugins", "repo/plugins.rs", "text plugin", "record Plugin";
        PluginVersions: "plugin_versions", "repo/plugin_versions.rs", "text plugin, int version", "record PluginVersion";
        PluginActivations: "plugin_activations", "repo/plugin_activations.rs", "text plugin, int activation", "record PluginActivation";
        PluginActivationsByTarget: "plugin_activations_by_target", "repo/plugin_activations.rs", "text plugin, text route (empty: all), uuid tenant (nil: all)", "tuple (int activation, int version, int activation before)";
        Blobs: "blobs", "blobs/", "bytes SHA-256", "record Blob";
        BlobReferences: "blob_references", "repo/files/, repo/plugin_versions.rs, blobs/", "bytes SHA-256, uuid owner", "– for a file; tuple (uuid session, text path, int version) for a version of one; tuple (text plugin, int version) for a plugin's";
        BlobContents: "blob_contents", "blobs/", "uuid content, int chunk", "SHA-256 over content, chunk and bytes, 32 bytes; raw bytes";
        BlobUploads: "blob_uploads", "blobs/", "uuid content", "record Upload";
        BlobGarbage: "blob_garbage", "blobs/", "int since when in Unix ms, bytes SHA-256", "–";
    }
}
