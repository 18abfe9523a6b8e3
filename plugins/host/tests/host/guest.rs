//! Guests in the text format: a frame with all imports, an allocator and reporting, to be filled with callbacks.
//!
//! A guest tells the test what it saw by `$report`, which logs a number as four bytes, and `$say`, which logs text.

use std::fmt::Write;

/// The imports every guest has: name and numbers of `i32` parameters; all give a status.
const IMPORTS: &[(&str, usize)] = &[
    ("proxy_log", 3),
    ("proxy_get_log_level", 1),
    ("proxy_get_current_time_nanoseconds", 1),
    ("proxy_set_effective_context", 1),
    ("proxy_done", 0),
    ("proxy_get_status", 3),
    ("proxy_get_header_map_size", 2),
    ("proxy_get_header_map_pairs", 3),
    ("proxy_set_header_map_pairs", 3),
    ("proxy_get_header_map_value", 5),
    ("proxy_add_header_map_value", 5),
    ("proxy_replace_header_map_value", 5),
    ("proxy_remove_header_map_value", 3),
    ("proxy_get_buffer_bytes", 5),
    ("proxy_get_buffer_status", 3),
    ("proxy_set_buffer_bytes", 5),
    ("proxy_get_property", 4),
    ("proxy_set_property", 4),
    ("proxy_send_local_response", 8),
    ("proxy_get_shared_data", 5),
    ("proxy_set_shared_data", 5),
    ("proxy_register_shared_queue", 3),
    ("proxy_resolve_shared_queue", 5),
    ("proxy_enqueue_shared_queue", 3),
    ("proxy_dequeue_shared_queue", 3),
    ("proxy_http_call", 10),
    ("proxy_grpc_call", 12),
    ("proxy_grpc_stream", 9),
    ("proxy_grpc_send", 4),
    ("proxy_grpc_cancel", 1),
    ("proxy_grpc_close", 1),
    ("proxy_set_tick_period_milliseconds", 1),
    ("proxy_call_foreign_function", 6),
    ("proxy_continue_stream", 1),
    ("proxy_close_stream", 1),
    ("proxy_define_metric", 4),
    ("proxy_get_metric", 2),
];

/// Callbacks: name, parameters, results.
const CALLBACKS: &[(&str, usize, usize)] = &[
    ("proxy_on_context_create", 2, 0),
    ("proxy_on_vm_start", 2, 1),
    ("proxy_on_configure", 2, 1),
    ("proxy_on_request_headers", 3, 1),
    ("proxy_on_request_body", 3, 1),
    ("proxy_on_request_trailers", 2, 1),
    ("proxy_on_response_headers", 3, 1),
    ("proxy_on_response_body", 3, 1),
    ("proxy_on_response_trailers", 2, 1),
    ("proxy_on_tick", 1, 0),
    ("proxy_on_queue_ready", 2, 0),
    ("proxy_on_http_call_response", 5, 0),
    ("proxy_on_grpc_receive_initial_metadata", 3, 0),
    ("proxy_on_grpc_receive", 3, 0),
    ("proxy_on_grpc_receive_trailing_metadata", 3, 0),
    ("proxy_on_grpc_close", 3, 0),
    ("proxy_on_log", 1, 0),
    ("proxy_on_done", 1, 1),
    ("proxy_on_delete", 1, 0),
];

/// Where return values go in the guest's memory.
pub(crate) const OUT: &str = "(i32.const 64) (i32.const 68)";

/// A guest under construction.
#[derive(Clone)]
pub(crate) struct Guest {
    text: String,
    data: Vec<u8>,
}

/// Where strings are in the guest's memory.
const DATA: usize = 1024;

impl Guest {
    pub(crate) fn new() -> Self {
        let mut text = String::new();
        for (name, parameters) in IMPORTS {
            let parameters = vec!["i32"; *parameters].join(" ");
            writeln!(text, "(import \"env\" \"{name}\" (func ${name} (param {parameters}) (result i32)))")
                .unwrap();
        }
        text.push_str(
            r#"
            (import "env" "proxy_increment_metric" (func $proxy_increment_metric (param i32 i64) (result i32)))
            (import "env" "proxy_record_metric" (func $proxy_record_metric (param i32 i64) (result i32)))
            (memory (export "memory") 4)
            (global $heap (mut i32) (i32.const 65536))
            ;; 1: its allocator loops for ever.
            (global $allocator (mut i32) (i32.const 0))
            (func (export "malloc") (param $size i32) (result i32)
              (local $at i32)
              (if (global.get $allocator) (then (loop $again (br $again))))
              (local.set $at (global.get $heap))
              (global.set $heap (i32.add (global.get $heap) (local.get $size)))
              (local.get $at))
            (func (export "proxy_abi_version_0_2_1"))
            (func $report (param i32)
              (i32.store (i32.const 0) (local.get 0))
              (drop (call $proxy_log (i32.const 2) (i32.const 0) (i32.const 4))))
            (func $say (param i32 i32)
              (drop (call $proxy_log (i32.const 2) (local.get 0) (local.get 1))))
            (func $say_out (call $say (i32.load (i32.const 64)) (i32.load (i32.const 68))))
            "#,
        );
        Self { text, data: Vec::new() }
    }

    /// Puts a string into the guest's memory; gives its address and length as two operands.
    pub(crate) fn text(&mut self, text: &str) -> String {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> String {
        let at = DATA + self.data.len();
        self.data.extend_from_slice(bytes);
        format!("(i32.const {at}) (i32.const {})", bytes.len())
    }

    /// Adds a callback with this body. Its parameters are `$p0`, `$p1`, `$p2`. The body leaves the result, where
    /// there is one, on the stack.
    pub(crate) fn on(mut self, callback: &str, body: &str) -> Self {
        let (name, parameters, results) = CALLBACKS.iter().find(|known| known.0 == callback).unwrap();
        let parameters: String = (0..*parameters).map(|index| format!("(param $p{index} i32)")).collect();
        let results = if *results == 1 { "(result i32)" } else { "" };
        writeln!(self.text, "(func (export \"{name}\") {parameters} {results}\n{body})").unwrap();
        self
    }

    /// Puts another body in the place of a callback's.
    pub(crate) fn again(mut self, callback: &str, body: &str) -> Self {
        let from = self.text.find(&format!("(func (export \"{callback}\")")).expect("the callback");
        let end = self.text[from..].find("\n(func").map_or(self.text.len(), |end| from + end);
        self.text.replace_range(from..end, "");
        self.on(callback, body)
    }

    /// Adds anything else.
    pub(crate) fn with(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    pub(crate) fn wasm(self) -> Vec<u8> {
        let data: String = self.data.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let text = format!("(module {}\n(data (i32.const {DATA}) \"{data}\"))", self.text);
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// The same body in every callback there is.
    pub(crate) fn fill(mut self, body: &str) -> Self {
        for (name, _, results) in CALLBACKS {
            let result = match (*name, results) {
                (_, 0) => "",
                (name, _)
                    if name.starts_with("proxy_on_request") || name.starts_with("proxy_on_response") =>
                {
                    "(i32.const 0)"
                }
                _ => "(i32.const 1)",
            };
            self = self.on(name, &format!("{body} {result}"));
        }
        self
    }
}

/// A pairs map in its wire form, made here by hand and not by the host's own encoder.
pub(crate) fn wire(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = u32::try_from(pairs.len()).unwrap().to_le_bytes().to_vec();
    for (name, value) in pairs {
        bytes.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        bytes.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    }
    for (name, value) in pairs {
        bytes.extend(name.bytes().chain([0]).chain(value.bytes()).chain([0]));
    }
    bytes
}
