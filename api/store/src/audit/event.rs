//! What the audit trail is told: who did what to which object, from where.

use std::fmt;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::records::AuditObject;

/// The pseudo-tenant whose trail has what belongs to no tenant: failed logins of unknown addresses, what operators do,
/// the ends of tenants.
pub const OPERATORS: Uuid = Uuid::nil();

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident: $name:literal;)*) => {
        /// What was done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum AuditAction { $($(#[$doc])* $variant,)* }

        impl AuditAction {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in the trail: the kind of object, a dot, what was done.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

actions! {
    /// A user logged in; the object is the token family.
    Login: "login.succeed";
    /// A login was refused; the object is the user, or for an unknown address the hash of that.
    LoginFailed: "login.fail";
    /// A login was refreshed; the object is the token family.
    Refresh: "login.refresh";
    /// A rotated refresh token was used again; the object is the token family, which was revoked.
    RefreshReused: "login.reuse";
    /// A token family was revoked; the object is the family.
    Revoke: "login.revoke";
    /// A socket was opened; the object is the workspace.
    SocketAttach: "socket.attach";
    /// A socket ended; the object is the workspace, the details have the reason.
    SocketDetach: "socket.detach";
    /// A user registered, or was added.
    UserCreate: "user.create";
    /// A user's name, address, role or state changed.
    UserUpdate: "user.update";
    /// A user's password was set.
    UserPassword: "user.password";
    /// A user was removed.
    UserDelete: "user.delete";
    /// A tenant was suspended.
    TenantSuspend: "tenant.suspend";
    /// A tenant may go on.
    TenantResume: "tenant.resume";
    /// A tenant was exported.
    TenantExport: "tenant.export";
    /// A tenant was removed.
    TenantDelete: "tenant.delete";
    /// A workspace was removed.
    SessionDelete: "session.delete";
    /// A conversation was removed.
    ConversationDelete: "conversation.delete";
    /// A file, or a tree of files, was removed; the object is the workspace, the details have the path.
    FileDelete: "file.delete";
    /// A setting of the whole tenant was changed or removed.
    SettingUpdate: "setting.update";
    /// An agent was removed.
    AgentDelete: "agent.delete";
    /// A version of a plugin was uploaded.
    PluginUpload: "plugin.upload";
    /// A version of a plugin was put to work, or back to work.
    PluginActivate: "plugin.activate";
    /// A plugin was taken out of work.
    PluginDeactivate: "plugin.deactivate";
    /// A plugin was removed.
    PluginDelete: "plugin.delete";
    /// The signed head of a trail was given out.
    HeadExport: "audit.head";
    /// Events were lost because the store or the queue did not take them; the details have how many. Those whose
    /// commit was cut off may be in the trail all the same.
    Gap: "audit.gap";
}

impl fmt::Display for AuditAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEvent {
    /// In whose trail it belongs; [`OPERATORS`] where it is no tenant's.
    pub tenant: Uuid,
    /// The user who did it; absent if the program or an operator did.
    pub actor: Option<Uuid>,
    /// What was done.
    pub action: AuditAction,
    /// To what.
    pub object: AuditObject,
    /// The client's address.
    pub address: Option<String>,
    /// What else is worth knowing; what is beyond 4 KiB of JSON is cut. Never secrets.
    pub details: Map<String, Value>,
}
