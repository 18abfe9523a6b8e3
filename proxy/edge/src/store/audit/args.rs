//! The arguments of `coditect-edge audit`.

use clap::{Args, Subcommand};
use std::path::PathBuf;
use uuid::Uuid;

/// How many entries `ls` prints unless told otherwise.
const LS_LIMIT: u64 = 50;

/// `coditect-edge audit …`
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Print JSON for machines: one object per line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

/// What to do with the audit trails.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Walk the trails: is anything changed, removed, inserted or exchanged? Exits 1 if so.
    ///
    /// A tail that was cut off together with the record of where the trail ends can only be found against heads that
    /// were kept elsewhere: give them with `--heads`.
    Verify {
        /// One tenant only; 00000000-0000-0000-0000-000000000000 is the operators' trail.
        #[arg(long, value_name = "ID")]
        tenant: Option<Uuid>,
        /// Signed heads from earlier, as `audit head`, `store backup` and `store export` write them.
        #[arg(long, value_name = "FILE")]
        heads: Option<PathBuf>,
        /// The key they must be signed with, as `audit key` printed it then; the edge's own if left out.
        #[arg(long, value_name = "HEX", requires = "heads")]
        public_key: Option<String>,
    },
    /// Write the signed heads of all trails, to be kept where nobody who can change the store can change them.
    Head {
        /// The file to make; standard output if left out.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// List a tenant's entries, the newest first.
    Ls {
        /// The tenant; 00000000-0000-0000-0000-000000000000 is the operators' trail.
        #[arg(long, value_name = "ID")]
        tenant: Uuid,
        /// The most entries.
        #[arg(long, default_value_t = LS_LIMIT, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },
    /// Print the public key that checks signed heads, and its id.
    Key,
}
