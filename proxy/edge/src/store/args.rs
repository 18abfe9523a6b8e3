//! The arguments of `coditect-edge store`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// How many lines `ls` prints unless told otherwise.
const LS_LIMIT: u64 = 1000;

/// `coditect-edge store …`
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// Print JSON for machines: `ls` one object per line, the others one object.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: StoreCommand,
}

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// List keys as paths, like directories.
    ///
    /// A line that ends with `/` has keys below it. Paths look like
    /// /coditect/tenant/TENANT/users/USER or /coditect/global/users_by_email/ADDRESS.
    Ls {
        /// Where to begin; everything the edge keeps if left out.
        path: Option<String>,
        /// All keys below, instead of one level.
        #[arg(long, short)]
        recursive: bool,
        /// The most lines.
        #[arg(long, default_value_t = LS_LIMIT, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
        /// With values, in short; secrets are left out.
        #[arg(long)]
        values: bool,
    },
    /// Show the value of a key. Exits 1 if there is no such key.
    Get {
        /// The key, as `ls` prints it.
        path: String,
        /// The value's bytes and nothing else, password hashes and other secrets included.
        #[arg(long, conflicts_with = "json")]
        raw: bool,
    },
    /// Count keys and bytes by family. Reads everything.
    Stats,
    /// Check every record and every index. Changes nothing; exits 1 if there are problems.
    Verify,
    /// Write everything into a file that `import` puts into a store of either kind.
    ///
    /// Works while the edge serves. The file holds password hashes: it is made for its owner only, and an
    /// existing one is not overwritten. The format is described in api/store/EXPORT.md.
    Export {
        /// The file to make; `-` writes to standard output.
        file: PathBuf,
    },
    /// Put an export into an empty store. No edge may run on it meanwhile.
    ///
    /// The whole file is checked before anything is written. If it is cut off, no edge starts on the store
    /// until an import ran through.
    Import {
        /// The export.
        file: PathBuf,
        /// Remove everything that is in the store first.
        #[arg(long)]
        replace: bool,
    },
    /// Copy the embedded store's file, also while the edge serves.
    ///
    /// The copy is of one moment, checked, and opens as a store: to restore it, stop the edge and put it in
    /// the place of `path` in [store]. An existing file is not overwritten.
    Backup {
        /// The file to make. The running edge writes it, so it must be able to.
        file: PathBuf,
    },
}
