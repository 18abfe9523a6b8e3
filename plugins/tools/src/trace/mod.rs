//! A record of every call between host and guest, in both directions, with what the calls were about.

mod signatures;

use self::signatures::{describe, status_name};
use coditect_proxy_wasm::{TraceEvent, Tracer};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most entries that are kept; of those beyond only the number is.
const MAX_ENTRIES: usize = 50_000;

/// One step of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// What happens from here on, in the words of the exchange.
    Note(String),
    /// The host calls the guest.
    Enter {
        /// The guest's function.
        function: String,
        /// For this context; 0 is the module itself.
        context: u32,
    },
    /// The guest calls the host, and is answered.
    Call {
        /// The host's function.
        name: String,
        /// Its arguments as they are meant.
        arguments: String,
        /// What it gives besides its status.
        results: String,
        /// Its status; none where it ended the guest.
        status: Option<u32>,
    },
    /// The guest's function is over.
    Leave {
        /// The guest's function.
        function: String,
        /// It returned; else it was cut off.
        returned: bool,
    },
}

/// Takes down what passes between host and guest. Off until it is switched on.
#[derive(Default)]
pub struct Trace {
    on: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: Vec<Entry>,
    dropped: usize,
}

impl Trace {
    /// Whether it takes down what comes.
    pub fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what happens from here on.
    pub fn note(&self, text: &str) {
        self.push(Entry::Note(text.to_owned()));
    }

    fn push(&self, entry: Entry) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        let mut kept = self.kept();
        if kept.entries.len() < MAX_ENTRIES {
            kept.entries.push(entry);
        } else {
            kept.dropped += 1;
        }
    }

    /// The record so far, which is then forgotten; and how many entries more there were.
    pub fn take(&self) -> (Vec<Entry>, usize) {
        let kept = std::mem::take(&mut *self.kept());
        (kept.entries, kept.dropped)
    }
}

impl Tracer for Trace {
    fn event(&self, event: &TraceEvent<'_>) {
        match *event {
            TraceEvent::Enter { function, context } => {
                self.push(Entry::Enter { function: function.to_owned(), context });
            }
            TraceEvent::Leave { function, returned } => {
                self.push(Entry::Leave { function: function.to_owned(), returned });
            }
            TraceEvent::HostCall { name, arguments, status, memory } => {
                if self.on.load(Ordering::Relaxed) {
                    let (arguments, results) = describe(name, arguments, status, memory);
                    self.push(Entry::Call { name: name.to_owned(), arguments, results, status });
                }
            }
        }
    }
}

/// The record for people: what the guest does is indented under what the host called it for.
#[must_use]
pub fn human(entries: &[Entry], dropped: usize) -> String {
    let mut text = String::new();
    let mut depth = 1;
    for entry in entries {
        let line = match entry {
            Entry::Note(note) => note.clone(),
            Entry::Enter { function, context: 0 } => format!("→ {function}"),
            Entry::Enter { function, context } => format!("→ {function} (context {context})"),
            Entry::Call { name, arguments, results, status } => {
                let status = status.map_or("ended the plugin".to_owned(), status_name);
                let results = if results.is_empty() { String::new() } else { format!(" {results}") };
                format!("{name}({arguments}) = {status}{results}")
            }
            Entry::Leave { function, returned: true } => format!("← {function}"),
            Entry::Leave { function, returned: false } => format!("✗ {function} was cut off"),
        };
        if matches!(entry, Entry::Leave { .. }) {
            depth = (depth - 1).max(1);
        }
        let indent = if matches!(entry, Entry::Note(_)) { 0 } else { depth * 2 };
        text.push_str(&format!("{:indent$}{line}\n", ""));
        if matches!(entry, Entry::Enter { .. }) {
            depth += 1;
        }
    }
    if dropped > 0 {
        text.push_str(&format!("… and {dropped} steps more\n"));
    }
    text
}

/// The record for programs.
#[must_use]
pub fn json(entries: &[Entry]) -> Value {
    let entry = |entry: &Entry| match entry {
        Entry::Note(note) => json!({ "note": note }),
        Entry::Enter { function, context } => json!({ "enter": function, "context": context }),
        Entry::Call { name, arguments, results, status } => {
            let status = status.map(status_name);
            json!({ "call": name, "arguments": arguments, "results": results, "status": status })
        }
        Entry::Leave { function, returned } => json!({ "leave": function, "returned": returned }),
    };
    entries.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &'static str, arguments: &[u64], memory: &[u8]) -> Entry {
        let trace = Trace::default();
        trace.switch(true);
        trace.event(&TraceEvent::HostCall { name, arguments, status: Some(0), memory });
        let (mut entries, _) = trace.take();
        entries.remove(0)
    }

    #[test]
    fn a_call_is_told_by_what_its_arguments_mean() {
        let mut memory = b"x-name\0\0value\0\0\0".to_vec();
        memory.extend_from_slice(&[8, 0, 0, 0, 5, 0, 0, 0]);
        let entry = call("proxy_get_header_map_value", &[0, 0, 6, 16, 20], &memory);
        assert_eq!(
            human(&[entry], 0),
            "  proxy_get_header_map_value(request_headers, `x-name`) = OK value: `value`\n"
        );
        let entry = call("proxy_log", &[2, 8, 5], &memory);
        assert_eq!(human(&[entry], 0), "  proxy_log(info, `value`) = OK\n");
    }

    #[test]
    fn what_points_nowhere_is_told_as_it_came() {
        for arguments in [&[0, 0xffff_ffff, 6, 16, 20][..], &[9, 0, 6, u64::MAX, 3], &[1], &[]] {
            let entry = call("proxy_get_header_map_value", arguments, b"short");
            assert!(matches!(entry, Entry::Call { .. }), "{entry:?}");
        }
        let Entry::Call { arguments, .. } = call("proxy_unheard_of", &[1, 2], b"") else { return };
        assert_eq!(arguments, "1, 2");
    }

    #[test]
    fn a_record_is_indented_and_bounded() {
        let trace = Trace::default();
        trace.note("not yet");
        trace.switch(true);
        trace.note("request headers");
        trace.event(&TraceEvent::Enter { function: "proxy_on_request_headers", context: 2 });
        trace.event(&TraceEvent::HostCall { name: "proxy_done", arguments: &[], status: None, memory: &[] });
        trace.event(&TraceEvent::Leave { function: "proxy_on_request_headers", returned: false });
        let (entries, _) = trace.take();
        let expected = "request headers\n  → proxy_on_request_headers (context 2)\n    \
                        proxy_done() = ended the plugin\n  ✗ proxy_on_request_headers was cut off\n";
        assert_eq!(human(&entries, 0), expected);
        for _ in 0..=MAX_ENTRIES {
            trace.note("again");
        }
        let (entries, dropped) = trace.take();
        assert_eq!((entries.len(), dropped), (MAX_ENTRIES, 1));
    }
}
