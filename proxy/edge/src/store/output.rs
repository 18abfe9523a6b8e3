//! What the commands print: for people or as JSON, and on a terminal how far they are.

use super::operations::Sink;
use super::protocol::Step;
use crate::cli::say;
use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the progress line changes.
const REDRAW: Duration = Duration::from_millis(100);

/// How items are printed to people.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    /// A path, and what else there is after tabs.
    Line,
    /// A key and its value.
    Value,
    /// An entry of an audit trail, or what is wrong with one.
    Audit,
    /// As the command says.
    Custom(fn(&Value) -> String),
}

/// Prints to standard output, or into a file what comes as bytes.
pub(super) struct Printer {
    pub(super) json: bool,
    pub(super) style: Style,
    /// Where bytes go if not to standard output.
    pub(super) file: Option<File>,
    progress: Option<ProgressLine>,
}

impl Printer {
    pub(super) fn new(json: bool, style: Style) -> Self {
        let progress = std::io::stderr().is_terminal().then(ProgressLine::new);
        Self { json, style, file: None, progress }
    }

    /// Takes the progress line away.
    pub(super) fn end_progress(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.clear();
        }
    }
}

#[async_trait]
impl Sink for Printer {
    async fn items(&mut self, items: Vec<Value>) -> anyhow::Result<()> {
        self.end_progress();
        let mut out = std::io::stdout().lock();
        for item in items {
            let line = match (self.json, self.style) {
                (true, _) => item.to_string(),
                (false, Style::Line) => line(&item),
                (false, Style::Value) => value(&item),
                (false, Style::Audit) => audit(&item),
                (false, Style::Custom(shown)) => shown(&item),
            };
            writeln!(out, "{line}").context("standard output")?;
        }
        Ok(())
    }

    async fn bytes(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(&bytes).context("the file cannot be written"),
            None => {
                let mut out = std::io::stdout().lock();
                out.write_all(&bytes).and_then(|()| out.flush()).context("standard output")
            }
        }
    }

    fn progress(&mut self, step: Step) {
        if let Some(progress) = &mut self.progress {
            progress.show(&step);
        }
    }

    fn end(&mut self) {
        self.end_progress();
    }
}

/// One line on standard error that is written over again and again.
struct ProgressLine {
    doing: String,
    since: Instant,
    drawn: Option<Instant>,
}

impl ProgressLine {
    fn new() -> Self {
        Self { doing: String::new(), since: Instant::now(), drawn: None }
    }

    fn show(&mut self, step: &Step) {
        if self.doing != step.doing {
            self.doing.clone_from(&step.doing);
            self.since = Instant::now();
        }
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let each = |count: u64| count.saturating_mul(1000) / millis;
        let line = match step.bytes {
            0 => format!("{}: {} rows, {}/s", step.doing, step.rows, each(step.rows)),
            bytes => format!("{}: {} rows, {}, {}/s", step.doing, step.rows, size(bytes), size(each(bytes))),
        };
        drop(write!(std::io::stderr().lock(), "\r{line}\x1b[K"));
    }

    fn clear(&mut self) {
        if self.drawn.take().is_some() {
            drop(write!(std::io::stderr().lock(), "\r\x1b[K"));
        }
    }
}

/// A number of bytes as people read it.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

/// A string without its quotes; anything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn line(item: &Value) -> String {
    let mut line = plain(&item["path"]);
    for more in ["problem", "value"] {
        if let Some(found) = item.get(more) {
            line.push('\t');
            line.push_str(&plain(found));
        }
    }
    line
}

fn value(item: &Value) -> String {
    let mut text = plain(&item["path"]);
    match (&item["family"], &item["holds"]) {
        (Value::String(family), Value::String(holds)) => {
            text += &format!("\n{family}: {holds}, {} bytes", item["bytes"]);
        }
        _ => text += &format!("\nof no known family, {} bytes", item["bytes"]),
    }
    if let Some(record) = item.get("record") {
        text += &format!("\n{record:#}");
    }
    for form in ["tuple", "hex"] {
        if let Some(found) = item.get(form) {
            text += &format!("\n{form} {}", plain(found));
        }
    }
    text
}

fn audit(item: &Value) -> String {
    let text = |name: &str| item.get(name).filter(|value| !value.is_null()).map_or("-".to_owned(), plain);
    if let Some(problem) = item.get("problem") {
        let place = match &item["seq"] {
            Value::Null => String::new(),
            seq => format!(", entry {seq}"),
        };
        return format!("tenant {}{place}: {}", text("tenant"), plain(problem));
    }
    let object = &item["object"];
    // Control characters of an object's name must not reach the terminal.
    let object = format!("{} {}", plain(&object["kind"]), plain(&object["id"])).escape_debug().to_string();
    let fields = [text("seq"), text("at"), text("action"), object, text("actor"), text("address")];
    format!("{}\t{}", fields.join("\t"), item["details"])
}

/// `stats` for people.
pub(super) fn print_stats(summary: &Value) {
    let number = |name: &str| summary[name].as_u64().unwrap_or_default();
    say(&format!("store    {}, version {}", plain(&summary["store"]), number("version")));
    if let Some(bytes) = summary["file_bytes"].as_u64() {
        say(&format!("file     {}", size(bytes)));
    }
    say(&format!("content  {} rows, {} of keys and values\n", number("rows"), size(number("bytes"))));
    say(&format!("{:<36} {:>12} {:>12}", "FAMILY", "ROWS", "SIZE"));
    for family in summary["families"].as_array().into_iter().flatten() {
        let (name, rows) = (plain(&family["family"]), plain(&family["rows"]));
        say(&format!("{name:<36} {rows:>12} {:>12}", size(family["bytes"].as_u64().unwrap_or_default())));
    }
    if number("snapshots") > 1 {
        say("\ncounted over several moments, so that the numbers may not add up");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_are_short() {
        let shown: Vec<_> = [0, 1023, 1024, 1536, 10 << 20, u64::MAX].map(size).to_vec();
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10.0 MiB", "16777215.9 TiB"]);
    }

    #[test]
    fn audit_entries_and_what_is_wrong_with_them_are_lines() {
        let entry = json!({
            "seq": 3, "at": 5, "actor": null, "action": "login.succeed", "address": "192.0.2.1",
            "object": { "kind": "family", "id": "a\u{1b}[2J" }, "details": { "n": 1 },
        });
        let shown = "3\t5\tlogin.succeed\tfamily a\\u{1b}[2J\t-\t192.0.2.1\t{\"n\":1}";
        assert_eq!(audit(&entry), shown);
        let problem = json!({ "tenant": "t", "seq": 3, "problem": "it is missing" });
        assert_eq!(audit(&problem), "tenant t, entry 3: it is missing");
        let problem = json!({ "tenant": "t", "seq": null, "problem": "no head" });
        assert_eq!(audit(&problem), "tenant t: no head");
    }

    #[test]
    fn items_are_lines() {
        assert_eq!(line(&json!({ "path": "/a/" })), "/a/");
        assert_eq!(line(&json!({ "path": "/a", "bytes": 3, "value": "{}" })), "/a\t{}");
        assert_eq!(line(&json!({ "path": "/a", "problem": "bad" })), "/a\tbad");
        let shown = value(
            &json!({ "path": "/a", "family": "f", "holds": "record A", "bytes": 2, "record": { "x": 1 } }),
        );
        assert_eq!(shown, "/a\nf: record A, 2 bytes\n{\n  \"x\": 1\n}");
        let shown = value(&json!({ "path": "/a", "family": null, "holds": null, "bytes": 2, "hex": "0102" }));
        assert_eq!(shown, "/a\nof no known family, 2 bytes\nhex 0102");
    }
}
