//! The arguments of `coditect-edge user` and `coditect-edge tenant`.

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use uuid::Uuid;

/// How many users or tenants are listed unless told otherwise.
const LIST_LIMIT: u64 = 1000;

/// What `user --help` ends with.
const USER_EXAMPLES: &str = "\
Examples:
  coditect-edge user add ada@example.com --first-name Ada --last-name Lovelace --generate
  pass show edge/bob | coditect-edge user set-password bob@example.com --password-stdin
  coditect-edge user list --json | jq -r 'select(.status == \"disabled\").email'";
/// What `tenant --help` ends with.
const TENANT_EXAMPLES: &str = "\
Examples:
  coditect-edge tenant suspend 6f0e3c1a-8f1b-4d0e-9d3a-2f8f6a0b7c11 --reason 'unpaid since May'
  coditect-edge tenant export 6f0e3c1a-8f1b-4d0e-9d3a-2f8f6a0b7c11 tenant.export
  coditect-edge tenant delete 6f0e3c1a-8f1b-4d0e-9d3a-2f8f6a0b7c11";

/// `coditect-edge user …`
#[derive(Debug, Args)]
#[command(after_help = USER_EXAMPLES)]
pub(crate) struct UserArgs {
    /// Print JSON for machines: `list` one object per line, the others one object.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: UserCommand,
}

/// What to do with users.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user: to a tenant, or as the owner of a new one.
    ///
    /// The password is asked for on a terminal; see --password-stdin and --generate. It is never an argument, which
    /// everybody on this machine could read.
    Add {
        /// The e-mail address the user will log in with.
        email: String,
        /// Given name.
        #[arg(long, value_name = "NAME")]
        first_name: String,
        /// Family name.
        #[arg(long, value_name = "NAME")]
        last_name: String,
        /// The tenant to join; without it a new one is made.
        #[arg(long, value_name = "ID")]
        tenant: Option<Uuid>,
        /// What the user may do there.
        #[arg(long, value_enum, default_value_t, requires = "tenant")]
        role: RoleName,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// List users, those of one tenant or all.
    List {
        /// Only this tenant's.
        #[arg(long, value_name = "ID")]
        tenant: Option<Uuid>,
        /// The most lines.
        #[arg(long, default_value_t = LIST_LIMIT, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },
    /// Show a user. Exits 1 if there is none.
    Show {
        /// The e-mail address, or TENANT/USER as `list` prints it.
        user: String,
    },
    /// Keep a user from logging in, and end the user's logins and sockets everywhere within a second.
    ///
    /// The user keeps everything. A tenant's last owner cannot be disabled: suspend the tenant.
    Disable {
        /// The e-mail address, or TENANT/USER as `list` prints it.
        user: String,
    },
    /// Let a disabled user log in again.
    Enable {
        /// The e-mail address, or TENANT/USER as `list` prints it.
        user: String,
    },
    /// Give a user another password, and end the user's logins.
    ///
    /// It is asked for on a terminal; see --password-stdin and --generate.
    SetPassword {
        /// The e-mail address, or TENANT/USER as `list` prints it.
        user: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
}

/// Where a password comes from, if nobody is asked for it.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct PasswordArgs {
    /// Read the password from standard input: its first line.
    #[arg(long, conflicts_with = "generate")]
    pub(crate) password_stdin: bool,
    /// Make a password, and print it this once.
    #[arg(long)]
    pub(crate) generate: bool,
}

/// What a user may do in the tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RoleName {
    /// Everything, also ending the tenant.
    Owner,
    /// Manages members.
    Admin,
    /// Works in own workspaces.
    #[default]
    Member,
}

/// `coditect-edge tenant …`
#[derive(Debug, Args)]
#[command(after_help = TENANT_EXAMPLES)]
pub(crate) struct TenantArgs {
    /// Print JSON for machines: `list` one object per line, the others one object.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: TenantCommand,
}

/// What to do with tenants.
#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// List tenants.
    List {
        /// The most lines.
        #[arg(long, default_value_t = LIST_LIMIT, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },
    /// Show a tenant and how many members it has. Exits 1 if there is none.
    Show {
        /// The tenant.
        id: Uuid,
    },
    /// Keep all of a tenant's members from doing anything.
    ///
    /// Requests are answered 403 TENANT_SUSPENDED and sockets are closed on every edge within a second. Nothing is
    /// lost: with `resume` the same logins go on.
    Suspend {
        /// The tenant.
        id: Uuid,
        /// Why, for whoever looks at it later.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// End a suspension.
    Resume {
        /// The tenant.
        id: Uuid,
    },
    /// Write everything of a tenant into a file that `store import` puts into an empty store.
    ///
    /// The file holds password hashes, so that members can log in where it is imported: it is made for its owner only,
    /// and an existing one is not overwritten.
    Export {
        /// The tenant.
        id: Uuid,
        /// The file to make; `-` writes to standard output.
        file: PathBuf,
    },
    /// Remove a tenant with its members and all they have, for good.
    ///
    /// Logins and sockets end at once on every edge, then the data goes. If this is broken off, the edge goes on with
    /// it, or this command, called again. What stays is the tenant's audit trail, and an entry in the operators'.
    Delete {
        /// The tenant.
        id: Uuid,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// The tenant's audit trail goes too.
        #[arg(long)]
        with_audit: bool,
    },
}
