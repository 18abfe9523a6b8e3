//! The commands that write or read a file: `export`, `import`, `backup`.

use super::audit;
use super::operations::Sink;
use super::output::{Printer, Style, size};
use super::protocol::Request;
use super::{ask, close, number, open, reach};
use crate::cli::{complain, say};
use anyhow::{Context, bail};
use coditect_auth::SystemEntropy;
use coditect_config::Config;
use coditect_store::dump;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// `store export FILE`, or what else makes an export; `request` says of what.
pub(super) async fn export(
    config: &Config,
    request: &Request,
    file: &Path,
    json: bool,
) -> anyhow::Result<bool> {
    let mut printer = Printer::new(json, Style::Line);
    let to_stdout = file == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        bail!("an export is not for a terminal: name a file, or pipe it into a program");
    }
    let heads = if to_stdout { None } else { Some(Heads::before(config, file).await?) };
    let unfinished = if to_stdout {
        None
    } else {
        printer.file = Some(create(file)?);
        Some(Unfinished(file))
    };
    let done = ask(config, request, &mut printer).await;
    let done = match (&printer.file, done) {
        (Some(made), Ok(outcome)) => made.sync_all().map(|()| outcome).context("the export cannot be synced"),
        (_, done) => done,
    };
    let done = done?;
    let mut summary = done.summary;
    if !done.good {
        complain(summary["error"].as_str().unwrap_or("it was refused"));
        return Ok(false);
    }
    if let Some(made) = unfinished {
        made.keep();
    }
    summary["file"] = file.display().to_string().into();
    if let Some(heads) = heads {
        summary["audit_heads"] = heads.write()?.display().to_string().into();
    }
    let moments = match number(&summary, "snapshots") {
        0 | 1 => String::new(),
        moments => format!(", over {moments} moments: verify after an import"),
    };
    let told = format!("{} rows, {}{moments}", summary["rows"], size(number(&summary, "bytes")));
    let told = match (json, summary["audit_heads"].as_str()) {
        (true, _) => summary.to_string(),
        (false, Some(heads)) => {
            format!("exported {told} to {}; the signed heads of the audit trails to {heads}", file.display())
        }
        (false, None) => format!("exported {told} to {}", file.display()),
    };
    // Standard output may be the export itself.
    if to_stdout {
        complain(&told)
    } else {
        say(&told)
    }
    Ok(true)
}

/// The signed heads that go with a file, so that a trail that was cut since can be told from the file's.
struct Heads {
    file: PathBuf,
    document: Value,
}

impl Heads {
    /// Takes them. To be called before the file is made: then they name nothing that is not in it.
    async fn before(config: &Config, file: &Path) -> anyhow::Result<Self> {
        let heads = audit::beside(file);
        if heads.exists() && !file.exists() {
            bail!("{} exists and is not overwritten: remove it, or name another file", heads.display());
        }
        Ok(Self { file: heads, document: audit::signed(config, false).await? })
    }

    fn write(self) -> anyhow::Result<PathBuf> {
        audit::write(&self.file, &self.document)?;
        Ok(self.file)
    }
}

/// A file that is removed unless it is kept, also where its making is broken off.
struct Unfinished<'a>(&'a Path);

impl Unfinished<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        drop(fs::remove_file(self.0));
    }
}

/// Makes a file for its owner only.
pub(super) fn create(file: &Path) -> anyhow::Result<File> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => anyhow::anyhow!("{} exists and is not overwritten", file.display()),
        _ => anyhow::Error::from(error).context(format!("cannot make {}", file.display())),
    })
}

/// `store import FILE`
pub(super) async fn import(config: &Config, file: &Path, replace: bool, json: bool) -> anyhow::Result<bool> {
    let mut input = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    if !input.metadata().is_ok_and(|data| data.is_file()) {
        bail!("{} is no regular file; an import reads it twice, so save it first", file.display());
    }
    if reach(config).await?.is_some() {
        bail!("an edge is running on {}: stop it first", config.store.path.display());
    }
    let storage = open(config, true).await?;
    let mut printer = Printer::new(json, Style::Line);
    let mut tell = |progress: dump::Progress| printer.progress(progress.into());
    let imported =
        dump::import(&storage.store, &storage.keys, &mut input, replace, &SystemEntropy, &mut tell).await;
    let imported = imported.with_context(|| file.display().to_string());
    printer.end_progress();
    let imported = close(&storage, imported).await?;
    say(&if json {
        let summary = json!({
            "store": storage.description, "rows": imported.rows, "bytes": imported.bytes,
            "created_at": imported.header.created_at, "one_snapshot": imported.header.one_snapshot,
        });
        summary.to_string()
    } else {
        format!("imported {} rows, {} into {}", imported.rows, size(imported.bytes), storage.description)
    });
    Ok(true)
}

/// `store backup FILE`
pub(super) async fn backup(config: &Config, file: &Path, json: bool) -> anyhow::Result<bool> {
    // The edge may run in another directory.
    let file = std::path::absolute(file).with_context(|| file.display().to_string())?;
    let heads = Heads::before(config, &file).await?;
    let request = Request::Backup { file: file.clone() };
    let outcome = ask(config, &request, &mut Printer::new(json, Style::Line)).await?;
    let mut summary = outcome.summary;
    let heads = heads.write()?;
    summary["audit_heads"] = heads.display().to_string().into();
    say(&if json {
        summary.to_string()
    } else {
        let (rows, bytes) = (number(&summary, "rows"), size(number(&summary, "file_bytes")));
        format!(
            "{rows} rows, {bytes}, are in {}; the signed heads of the audit trails in {}",
            file.display(),
            heads.display()
        )
    });
    Ok(true)
}
