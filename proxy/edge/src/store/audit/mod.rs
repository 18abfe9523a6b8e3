//! `coditect-edge audit`: looking at the audit trails, checking them, and signing where they end. The commands reach a
//! running edge as the `store` commands do.

mod args;
mod heads;
pub(super) mod operations;

pub(crate) use self::args::AuditArgs;
use self::args::AuditCommand;
use super::files::create;
use super::operations::Sink;
use super::output::{Printer, Style};
use super::protocol::{Request, Step};
use super::{ask, carry_out, number};
use crate::audit_key::AuditKey;
use crate::cli::{complain, say};
use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use coditect_auth::SystemEntropy;
use coditect_config::Config;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs a command. Exits 0; 1 if there are problems; 2 if it could not be carried out.
pub(crate) fn run(config: Option<&Path>, args: AuditArgs) -> ExitCode {
    carry_out(config, "audit", |config| async move { command(&config, args).await })
}

async fn command(config: &Config, args: AuditArgs) -> anyhow::Result<bool> {
    let json = args.json;
    match args.command {
        AuditCommand::Verify { tenant, heads, public_key } => {
            // The edge may run in another directory.
            let heads = heads.map(std::path::absolute).transpose().context("the file of the heads")?;
            let request = Request::AuditVerify { tenant, heads, public_key };
            let outcome = ask(config, &request, &mut Printer::new(json, Style::Audit)).await?;
            say(&if json { outcome.summary.to_string() } else { verified(&outcome.summary) });
            Ok(outcome.good)
        }
        AuditCommand::Head { output } => {
            let document = signed(config, true).await?;
            match output {
                Some(file) => {
                    write(&file, &document)?;
                    say(&if json {
                        json!({ "file": file, "heads": count(&document), "key": document["key"] }).to_string()
                    } else {
                        format!("{} heads are in {}", count(&document), file.display())
                    });
                }
                None => say(&if json { document.to_string() } else { format!("{document:#}") }),
            }
            Ok(true)
        }
        AuditCommand::Ls { tenant, limit } => {
            let request = Request::AuditLs { tenant, limit };
            let outcome = ask(config, &request, &mut Printer::new(json, Style::Audit)).await?;
            if outcome.summary["more"] == true {
                complain(&format!("there is more; this is the limit of {limit} entries (--limit)"));
            }
            Ok(outcome.good)
        }
        AuditCommand::Key => {
            let (key, _) = AuditKey::load_or_create(&config.audit.key_file, &SystemEntropy)?;
            let public = key.public();
            say(&if json {
                json!({ "public_key": public.text(), "key": public.id() }).to_string()
            } else {
                format!("{}  (Ed25519, id {})", public.text(), public.id())
            });
            Ok(true)
        }
    }
}

/// `verify` for people.
fn verified(summary: &Value) -> String {
    let of = |name| number(summary, name);
    let mut told = format!("{} trails, {} entries, {} problems", of("trails"), of("entries"), of("problems"));
    if of("named") < of("problems") {
        told += &format!(", the first {} are named", of("named"));
    }
    if of("unchained") > 0 {
        told += &format!("; {} entries are older than the chains, nothing vouches for them", of("unchained"));
    }
    match (of("signed"), of("deleted")) {
        (0, _) => told += "; held against no signed heads, so that a cut tail may go unseen (--heads)",
        (signed, 0) => told += &format!("; held against {signed} signed heads"),
        (signed, deleted) => {
            told += &format!("; held against {signed} signed heads, {deleted} of tenants deleted since")
        }
    }
    told
}

/// The signed heads as they are now. Before a backup is made they name nothing that is not in it.
pub(super) async fn signed(config: &Config, by_request: bool) -> anyhow::Result<Value> {
    let mut collected = Collected::default();
    let outcome = ask(config, &Request::AuditHeads { by_request }, &mut collected).await?;
    for tenant in outcome.summary["unreadable"].as_array().into_iter().flatten() {
        complain(&format!(
            "the head of the audit trail of {tenant} cannot be read and is left out: run `audit verify`"
        ));
    }
    collected.0.pop().context("the edge gave no heads")
}

/// Where the heads that go with a backup or an export lie: beside it.
pub(super) fn beside(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".audit-heads.json");
    name.into()
}

/// Writes signed heads into a new file.
pub(super) fn write(file: &Path, document: &Value) -> anyhow::Result<()> {
    let mut made = create(file)?;
    let text = format!("{document:#}\n");
    made.write_all(text.as_bytes()).and_then(|()| made.sync_all()).with_context(|| file.display().to_string())
}

fn count(document: &Value) -> usize {
    document["heads"].as_array().map_or(0, Vec::len)
}

/// Keeps the listed things.
#[derive(Default)]
struct Collected(Vec<Value>);

#[async_trait]
impl Sink for Collected {
    async fn items(&mut self, items: Vec<Value>) -> anyhow::Result<()> {
        self.0.extend(items);
        Ok(())
    }

    async fn bytes(&mut self, _: Bytes) -> anyhow::Result<()> {
        Ok(())
    }

    fn progress(&mut self, _: Step) {}
}
