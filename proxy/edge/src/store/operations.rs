//! What the commands do to an open store, in whatever process it is open.

use super::audit::operations as audit;
use super::protocol::{Outcome, Request, Step};
use super::{people, verify};
use anyhow::{Context, bail};
use async_trait::async_trait;
use bytes::Bytes;
use coditect_auth::{Clock, Entropy};
use coditect_store::dump::{Export, Progress, backup, unfinished_import};
use coditect_store::inspect::{Content, Entry, List, Stats, describe};
use coditect_store::keyspace::path::{from_path, to_path};
use coditect_store::{AuditLog, Keyspace, Repositories, Store};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// The most bytes given to a sink at once.
const PIECE_BYTES: usize = 256 << 10;
/// The most of a value that `ls` shows, in characters.
const SHORT_VALUE: usize = 200;

/// An open store and what the commands want to know of it.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) keys: Keyspace,
    pub(super) description: String,
    /// The embedded store's file.
    pub(super) file: Option<PathBuf>,
    /// The key that signs the heads of audit trails.
    pub(super) audit_key: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) repositories: Repositories,
    pub(super) audit: AuditLog,
}

/// Takes what an operation brings to light.
#[async_trait]
pub(super) trait Sink: Send {
    /// Listed things.
    async fn items(&mut self, items: Vec<Value>) -> anyhow::Result<()>;
    /// The next part of a value or an export.
    async fn bytes(&mut self, bytes: Bytes) -> anyhow::Result<()>;
    /// How far it is. Must not block.
    fn progress(&mut self, step: Step);
    /// There is nothing more to come.
    fn end(&mut self) {}
}

/// Does what was asked for. Dropping the call ends it; a backup then leaves nothing behind.
pub(super) async fn perform(
    request: &Request,
    opened: &Opened,
    sink: &mut dyn Sink,
) -> anyhow::Result<Outcome> {
    match request {
        Request::Ls { path, recursive, limit, values } => {
            let path = path.clone().unwrap_or_else(|| to_path(opened.keys.root()));
            ls(opened, &path, *recursive, *limit, *values, sink).await
        }
        Request::Get { path, raw } => get(opened, path, *raw, sink).await,
        Request::Stats => stats(opened, sink).await,
        Request::Verify => verify::verify(opened, sink).await,
        Request::Export => export(opened, sink).await,
        Request::Backup { file } => {
            let made = backup(&opened.store, file, &mut |progress| sink.progress(progress.into())).await?;
            good(json!({
                "file": file, "rows": made.rows, "bytes": made.bytes, "file_bytes": made.file_bytes,
                "version": made.version,
            }))
        }
        Request::AuditVerify { tenant, heads, public_key } => {
            audit::check(opened, *tenant, heads.as_deref(), public_key.as_deref(), sink).await
        }
        Request::AuditHeads { by_request } => audit::sign(opened, *by_request, sink).await,
        Request::AuditLs { tenant, limit } => audit::list(opened, *tenant, *limit, sink).await,
        Request::People(request) => people::perform(request, opened, sink).await,
    }
}

fn good(summary: Value) -> anyhow::Result<Outcome> {
    Ok(Outcome { good: true, summary })
}

/// The key of a path, which may end with a slash as `ls` prints it.
fn key_of(path: &str) -> anyhow::Result<Vec<u8>> {
    let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
    from_path(path).with_context(|| format!("`{path}` is no path"))
}

async fn ls(
    opened: &Opened,
    path: &str,
    recursive: bool,
    limit: u64,
    values: bool,
    sink: &mut dyn Sink,
) -> anyhow::Result<Outcome> {
    let mut list = List::new(&opened.store, &opened.keys, &key_of(path)?, recursive);
    let mut left = limit;
    while let Some(entries) = list.next_page().await? {
        let more = entries.len() as u64 > left;
        let shown = entries.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX));
        let items: Vec<_> = shown.map(|entry| item(opened, entry, values)).collect();
        left -= items.len() as u64;
        sink.items(items).await?;
        if more || (left == 0 && list.next_page().await?.is_some()) {
            return good(json!({ "listed": limit, "more": true }));
        }
    }
    good(json!({ "listed": limit - left, "more": false }))
}

fn item(opened: &Opened, entry: Entry, values: bool) -> Value {
    match entry {
        Entry::Level { path } => json!({ "path": format!("{path}/") }),
        Entry::Key { path, .. } if !values => json!({ "path": path }),
        Entry::Key { path, key, value } => {
            json!({ "path": path, "bytes": value.len(), "value": short(&opened.keys, &key, &value) })
        }
    }
}

/// A value in one short line.
fn short(keys: &Keyspace, key: &[u8], value: &[u8]) -> String {
    let text = match describe(keys, key, value).content {
        Content::Empty => String::new(),
        Content::Record(_, record) => record.to_string(),
        Content::Tuple(path) => path,
        Content::Bytes(bytes) => {
            format!("0x{}", hex::encode(bytes.get(..SHORT_VALUE / 2).unwrap_or(&bytes)))
        }
    };
    match text.char_indices().nth(SHORT_VALUE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

async fn get(opened: &Opened, path: &str, raw: bool, sink: &mut dyn Sink) -> anyhow::Result<Outcome> {
    let key = key_of(path)?;
    if !opened.keys.span().contains(&key) {
        bail!("{path} is not among the edge's keys, which begin with {}", to_path(opened.keys.root()));
    }
    let Some(value) = opened.store.begin().get_snapshot(&key).await? else {
        return Ok(Outcome { good: false, summary: json!({ "path": path, "found": false }) });
    };
    if raw {
        sink.bytes(value).await?;
        return good(json!({ "found": true }));
    }
    let described = describe(&opened.keys, &key, &value);
    let mut told = described.content.to_json();
    told["path"] = to_path(&key).into();
    told["bytes"] = value.len().into();
    told["family"] = described.family.into();
    told["holds"] = described.holds.into();
    sink.items(vec![told]).await?;
    good(json!({ "found": true }))
}

async fn stats(opened: &Opened, sink: &mut dyn Sink) -> anyhow::Result<Outcome> {
    let mut tell = |progress: Progress| sink.progress(progress.into());
    let counted = Stats::count(&opened.store, &opened.keys, &mut tell).await?;
    let file_bytes = match &opened.file {
        Some(file) => Some(std::fs::metadata(file).with_context(|| file.display().to_string())?.len()),
        None => None,
    };
    let families: Vec<_> = counted
        .families
        .iter()
        .map(|(name, family)| json!({ "family": name, "rows": family.rows, "bytes": family.bytes }))
        .collect();
    good(json!({
        "backend": opened.store.backend_name(), "store": opened.description, "file_bytes": file_bytes,
        "version": counted.version, "snapshots": counted.snapshots, "rows": counted.rows,
        "bytes": counted.bytes, "families": families,
    }))
}

async fn export(opened: &Opened, sink: &mut dyn Sink) -> anyhow::Result<Outcome> {
    if unfinished_import(&opened.store, &opened.keys).await? {
        bail!("{} holds an import that was cut off: run that import again first", opened.description);
    }
    let now = opened.clock.now_millis();
    send_export(Export::start(&opened.store, &opened.keys, now)?, sink).await
}

/// Gives all of an export to a sink.
pub(super) async fn send_export(mut export: Export, sink: &mut dyn Sink) -> anyhow::Result<Outcome> {
    while let Some(mut chunk) = export.next_chunk().await? {
        while !chunk.is_empty() {
            sink.bytes(chunk.split_to(chunk.len().min(PIECE_BYTES))).await?;
        }
        sink.progress(export.progress().into());
    }
    let exported = export.exported().context("the export did not reach its end")?;
    good(json!({
        "rows": exported.summary.rows, "bytes": exported.bytes, "snapshots": exported.summary.snapshots,
        "sha256": hex::encode(exported.summary.digest),
    }))
}
