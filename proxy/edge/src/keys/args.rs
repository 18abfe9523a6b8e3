//! The arguments of `coditect-edge keys`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use coditect_auth::KeyAlgorithm;
use std::path::PathBuf;

/// How long a new key waits before it signs unless told otherwise, in seconds: twice as long as others may keep a copy of
/// /.well-known/jwks.json.
const ACTIVATE_AFTER: &str = "10m";

/// `coditect-edge keys …`
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    /// The key set, if not the `key_set` of [auth] in the configuration.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Print one JSON object for machines.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: KeysCommand,
}

/// What to do with the key set.
#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make the file, with one key that signs at once.
    ///
    /// An existing file is not overwritten. To use it, set `key_set` in [auth] and restart the edge. Tokens that were
    /// signed with JWT_SECRET or `key_file` stay good until you take that away, which you should when no login is older
    /// than the key set (`family_seconds`, 30 days unless configured).
    Init {
        /// What the key signs with: EdDSA (Ed25519), or RS256 for verifiers that know nothing newer.
        #[arg(long, default_value = "EdDSA", value_parser = algorithms())]
        algorithm: KeyAlgorithm,
    },
    /// Show the keys, what each does now, and until when. No secrets.
    List,
    /// Add a key that will sign in place of the one that does.
    ///
    /// It is published at once and signs after a delay, so that replicas and whoever verifies our tokens know it by
    /// then. The key before it goes on verifying for an overlap, so that nobody's login ends, and then is gone. Run it
    /// as often as you like to have new keys, for example monthly; a key that waits must sign first.
    Rotate {
        /// What the new key signs with; the same as now if left out.
        #[arg(long, value_parser = algorithms())]
        algorithm: Option<KeyAlgorithm>,
        /// How long it waits before it signs, such as 90s, 10m or 2h. Shorter than 5m, others may meet tokens whose key
        /// they do not know yet.
        #[arg(long, value_name = "TIME", default_value = ACTIVATE_AFTER, value_parser = seconds)]
        activate_after: i64,
        /// How long the key before it goes on verifying after that, such as 30d. At least, and unless told otherwise,
        /// the life of a login (`family_seconds` in [auth]) and an hour.
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        overlap: Option<i64>,
    },
    /// Take a key out at once, because somebody else may have it. Exits 1 if there is no such key.
    ///
    /// All tokens it has signed are refused as soon as the edges have read the file (within seconds): access tokens,
    /// refresh tokens and workspace cookies, so whoever has no newer ones must sign in again. Sockets that are open stay
    /// so until their login ends. If it is the key that signs, the waiting one does from now on, or else a new one; for
    /// a moment, verifiers that keep a copy of /.well-known/jwks.json do not know it.
    Retire {
        /// The key's id, as `list` prints it.
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// Print the public keys, as /.well-known/jwks.json has them.
    Jwks,
}

fn algorithms() -> impl TypedValueParser<Value = KeyAlgorithm> {
    PossibleValuesParser::new(KeyAlgorithm::NAMES).try_map(|name| name.parse::<KeyAlgorithm>())
}

/// A time such as `90s`, `10m`, `12h` or `30d`, in seconds. At most ten years.
fn seconds(text: &str) -> Result<i64, String> {
    const MOST: i64 = 10 * 366 * 86_400;
    let expected = || "expected a time such as 90s, 10m, 12h or 30d, at most ten years".to_owned();
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(expected()),
    };
    let count: u32 = digits.parse().map_err(|_| expected())?;
    Some(i64::from(count) * unit).filter(|seconds| *seconds <= MOST).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_a_bound() {
        for (text, expected) in [("0s", 0), ("90s", 90), ("10m", 600), ("12h", 43_200), ("30d", 2_592_000)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for bad in ["", "s", "10", "-1s", "1.5h", "10 m", "4000000000s", "99999999999d", "1w", "٣s", "1é"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!(seconds(ACTIVATE_AFTER), Ok(600));
    }
}
