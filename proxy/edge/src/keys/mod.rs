//! `coditect-edge keys`: making and rotating the key pairs that sign tokens, and having a running edge take changes.

mod args;
mod signing;
mod watch;

use crate::app;
use crate::cli::{complain, say, with_causes};
use anyhow::{Context, bail};
use coditect_auth::{
    Clock, Entropy, KeyFileError, KeyPair, KeyRotation, KeySet, KeySetFile, SystemClock, SystemEntropy,
};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) use self::args::KeysArgs;
use self::args::KeysCommand;
pub(crate) use self::signing::{TokenSigning, token_signing};

/// The exit code of a command that did not find the key, or the key set.
const NOT_THERE: u8 = 1;
/// The exit code of a command that could not be carried out.
const FAILED: u8 = 2;
/// What an overlap has beyond the life of a login, in seconds: for replicas that read the file late, and for clocks.
const OVERLAP_MARGIN: i64 = 3600;

/// Runs a command. Exits 0; 1 if there is no such key, or no key set; 2 if it could not be carried out.
pub(crate) fn run(config: Option<&Path>, args: &KeysArgs) -> ExitCode {
    match command(config, args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("coditect-edge keys: {}", with_causes(&error)));
            let absent = error.downcast_ref::<KeyFileError>().is_some_and(KeyFileError::is_absence);
            ExitCode::from(if absent { NOT_THERE } else { FAILED })
        }
    }
}

fn command(config: Option<&Path>, args: &KeysArgs) -> anyhow::Result<()> {
    let config = app::load(config)?.auth;
    let Some(path) = args.file.as_ref().or(config.key_set.as_ref()) else {
        bail!(
            "no key set is configured: set `key_set = \"data/keys.json\"` in [auth], or name one with --file"
        );
    };
    let (file, now, entropy) = (KeySetFile::new(path), SystemClock.now(), SystemEntropy);
    let told = match &args.command {
        KeysCommand::Init { algorithm } => {
            let set = KeySet::generate(*algorithm, now, &entropy)?;
            file.create(&set)?;
            let told = format!("made {} with the key {}", path.display(), set.signing(now).kid());
            let hint = match config.key_set.as_ref() == Some(path) {
                true => String::new(),
                false => {
                    format!("; to use it: key_set = \"{}\" in [auth], and restart the edge", path.display())
                }
            };
            (told + &hint, set)
        }
        KeysCommand::List => {
            let set = file.load()?;
            (table(&set, now)?, set)
        }
        KeysCommand::Rotate { algorithm, activate_after, overlap } => {
            let least = config.family_seconds.saturating_add(OVERLAP_MARGIN);
            let overlap = overlap.unwrap_or(least);
            if overlap < config.family_seconds {
                bail!(
                    "an overlap of {overlap} s would end logins: they live {} s (family_seconds in [auth]). \
                     To end what a key has signed, use `keys retire`",
                    config.family_seconds
                );
            }
            rotate(&file, *algorithm, *activate_after, overlap, now, &entropy)?
        }
        KeysCommand::Retire { kid } => retire(&file, kid, now, &entropy)?,
        KeysCommand::Jwks => {
            let public = file.load()?.public(now);
            let text = if args.json {
                serde_json::to_string(&public)
            } else {
                serde_json::to_string_pretty(&public)
            };
            say(&text.context("the public keys cannot be written")?);
            return Ok(());
        }
    };
    let (told, set) = told;
    say(&if args.json { report(&file, &set, now)?.to_string() } else { told });
    Ok(())
}

fn rotate(
    file: &KeySetFile,
    algorithm: Option<coditect_auth::KeyAlgorithm>,
    activate_after: i64,
    overlap: i64,
    now: i64,
    entropy: &dyn Entropy,
) -> anyhow::Result<(String, KeySet)> {
    let (set, kid) = file.update(|set| {
        let algorithm = algorithm.unwrap_or_else(|| set.signing(now).algorithm());
        set.rotate(KeyRotation { algorithm, activate_after, overlap }, now, entropy)
    })?;
    let signs = set.keys().find(|key| key.kid() == kid).map_or(now, KeyPair::signs_from);
    Ok((format!("the key {kid} is published now and signs from {}", moment(signs)?), set))
}

fn retire(file: &KeySetFile, kid: &str, now: i64, entropy: &dyn Entropy) -> anyhow::Result<(String, KeySet)> {
    let (set, _) = file.update(|set| set.retire(kid, now, entropy))?;
    let signing = set.signing(now).kid();
    let told = format!(
        "the key {kid} is out: edges refuse what it has signed as soon as they have read the file. {signing} signs"
    );
    Ok((told, set))
}

/// Unix seconds for people and machines.
fn moment(seconds: i64) -> anyhow::Result<String> {
    let at = OffsetDateTime::from_unix_timestamp(seconds).context("a time in the key set is out of range")?;
    at.format(&Rfc3339).context("a time in the key set is out of range")
}

fn table(set: &KeySet, now: i64) -> anyhow::Result<String> {
    let row = |columns: [&str; 6]| {
        let [kid, algorithm, state, created, signs, verifies] = columns;
        format!("{kid:<43}  {algorithm:<5}  {state:<7}  {created:<20}  {signs:<20}  {verifies}")
            .trim_end()
            .to_owned()
    };
    let mut lines = vec![row(["KEY", "ALG", "STATE", "CREATED", "SIGNS FROM", "VERIFIES UNTIL"])];
    for key in set.keys() {
        let until = key.verifies_until().map(moment).transpose()?;
        lines.push(row([
            key.kid(),
            key.algorithm().name(),
            set.state(key, now).name(),
            &moment(key.created_at())?,
            &moment(key.signs_from())?,
            until.as_deref().unwrap_or("(while none follows)"),
        ]));
    }
    Ok(lines.join("\n"))
}

fn report(file: &KeySetFile, set: &KeySet, now: i64) -> anyhow::Result<Value> {
    let keys = set.keys().map(|key| {
        Ok(json!({
            "kid": key.kid(),
            "algorithm": key.algorithm().name(),
            "state": set.state(key, now).name(),
            "created_at": moment(key.created_at())?,
            "signs_from": moment(key.signs_from())?,
            "verifies_until": key.verifies_until().map(moment).transpose()?,
        }))
    });
    let keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(json!({ "file": file.path().display().to_string(), "keys": keys }))
}
