//! Guest plugins in the text format: a frame with imports and helpers, to be filled with callbacks.

use std::fmt::Write;
use std::path::PathBuf;
use tempfile::TempDir;

/// The imports every guest has: name and numbers of `i32` parameters; all give a status.
const IMPORTS: &[(&str, usize)] = &[
    ("proxy_log", 3),
    ("proxy_get_header_map_value", 5),
    ("proxy_add_header_map_value", 5),
    ("proxy_replace_header_map_value", 5),
    ("proxy_remove_header_map_value", 3),
    ("proxy_set_buffer_bytes", 5),
    ("proxy_get_buffer_bytes", 5),
    ("proxy_get_property", 4),
    ("proxy_set_property", 4),
    ("proxy_send_local_response", 8),
    ("proxy_set_tick_period_milliseconds", 1),
    ("proxy_set_effective_context", 1),
    ("proxy_continue_stream", 1),
    ("proxy_close_stream", 1),
    ("proxy_http_call", 10),
    ("proxy_grpc_call", 12),
    ("proxy_grpc_stream", 9),
    ("proxy_grpc_send", 4),
];

/// Callbacks: name, parameters, results.
const CALLBACKS: &[(&str, usize, usize)] = &[
    ("proxy_on_configure", 2, 1),
    ("proxy_on_tick", 1, 0),
    ("proxy_on_request_headers", 3, 1),
    ("proxy_on_request_body", 3, 1),
    ("proxy_on_response_headers", 3, 1),
    ("proxy_on_response_body", 3, 1),
    ("proxy_on_response_trailers", 2, 1),
    ("proxy_on_log", 1, 0),
    ("proxy_on_http_call_response", 5, 0),
    ("proxy_on_grpc_receive", 3, 0),
    ("proxy_on_grpc_close", 3, 0),
];

/// Where strings are in the guest's memory; return values go to 64 and 68, waiting contexts to 4096, hexadecimal to 8192.
const DATA: usize = 16384;

/// A guest under construction.
pub struct Guest {
    text: String,
    data: Vec<u8>,
}

impl Default for Guest {
    fn default() -> Self {
        let mut text = String::new();
        for (name, parameters) in IMPORTS {
            let parameters = vec!["i32"; *parameters].join(" ");
            writeln!(text, "(import \"env\" \"{name}\" (func ${name} (param {parameters}) (result i32)))")
                .unwrap();
        }
        // $wait notes a context; $resume_all lets all noted ones go on in that direction.
        text.push_str(
            r#"
            (memory (export "memory") 8)
            (global $heap (mut i32) (i32.const 131072))
            (func (export "malloc") (param $size i32) (result i32)
              (local $at i32)
              (local.set $at (global.get $heap))
              (global.set $heap (i32.add (global.get $heap) (local.get $size)))
              (if (i32.gt_u (global.get $heap) (i32.const 480000)) (then (global.set $heap (i32.const 131072))))
              (local.get $at))
            (func (export "proxy_abi_version_0_2_1"))
            (func $digit (param $at i32) (param $value i32)
              (i32.store8 (local.get $at) (i32.add (local.get $value)
                (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $value) (i32.const 10))))))
            (func $hex (param $from i32) (param $length i32)
              (local $n i32) (local $byte i32) (local $to i32)
              (loop $next
                (if (i32.lt_u (local.get $n) (local.get $length)) (then
                  (local.set $byte (i32.load8_u (i32.add (local.get $from) (local.get $n))))
                  (local.set $to (i32.add (i32.const 8192) (i32.mul (local.get $n) (i32.const 2))))
                  (call $digit (local.get $to) (i32.shr_u (local.get $byte) (i32.const 4)))
                  (call $digit (i32.add (local.get $to) (i32.const 1)) (i32.and (local.get $byte) (i32.const 15)))
                  (local.set $n (i32.add (local.get $n) (i32.const 1)))
                  (br $next)))))
            (global $waiting (mut i32) (i32.const 0))
            (func $wait (param $context i32)
              (i32.store (i32.add (i32.const 4096) (i32.mul (global.get $waiting) (i32.const 4))) (local.get $context))
              (global.set $waiting (i32.add (global.get $waiting) (i32.const 1))))
            (func $resume_all (param $direction i32)
              (loop $next
                (if (global.get $waiting) (then
                  (global.set $waiting (i32.sub (global.get $waiting) (i32.const 1)))
                  (drop (call $proxy_set_effective_context
                    (i32.load (i32.add (i32.const 4096) (i32.mul (global.get $waiting) (i32.const 4))))))
                  (drop (call $proxy_continue_stream (local.get $direction)))
                  (br $next)))))
            "#,
        );
        Self { text, data: Vec::new() }
    }
}

impl Guest {
    /// A guest without callbacks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a string into the guest's memory; gives its address and length as two operands.
    pub fn string(&mut self, text: &str) -> String {
        let at = DATA + self.data.len();
        self.data.extend_from_slice(text.as_bytes());
        assert!(self.data.len() < 65536, "room for strings");
        format!("(i32.const {at}) (i32.const {})", text.len())
    }

    /// Adds a callback with this body. Its parameters are `$p0`, `$p1`, `$p2`. The body leaves the result, where
    /// there is one, on the stack.
    pub fn on(mut self, callback: &str, body: &str) -> Self {
        let (name, parameters, results) =
            CALLBACKS.iter().find(|known| known.0 == callback).expect("a callback of the list");
        let parameters: String = (0..*parameters).map(|index| format!("(param $p{index} i32)")).collect();
        let results = if *results == 1 { "(result i32)" } else { "" };
        writeln!(self.text, "(func (export \"{name}\") {parameters} {results}\n{body})").unwrap();
        self
    }

    /// A header written to a map (0: request, 2: response).
    pub fn add_header(&mut self, map: u32, name: &str, value: &str) -> String {
        let (name, value) = (self.string(name), self.string(value));
        format!("(drop (call $proxy_add_header_map_value (i32.const {map}) {name} {value}))")
    }

    /// A local response with a body and a header.
    pub fn respond(&mut self, status: u16, body: &str) -> String {
        let (details, body) = (self.string("guest_says"), self.string(body));
        let pairs = self.string("\u{1}\0\0\0\u{7}\0\0\0\u{1}\0\0\0x-local\u{0}1\0");
        format!(
            "(drop (call $proxy_send_local_response (i32.const {status}) {details} {body} {pairs} (i32.const -1)))"
        )
    }

    /// A property written to a header of a map (0: request, 2: response) in hexadecimal, if there is one.
    pub fn property_to_header(&mut self, map: u32, path: &str, name: &str) -> String {
        let (path, name) = (self.string(path), self.string(name));
        format!(
            "(if (i32.eqz (call $proxy_get_property {path} (i32.const 64) (i32.const 68))) (then \
             (call $hex (i32.load (i32.const 64)) (i32.load (i32.const 68))) \
             (drop (call $proxy_add_header_map_value (i32.const {map}) {name} (i32.const 8192) \
             (i32.mul (i32.load (i32.const 68)) (i32.const 2))))))"
        )
    }

    /// A header map as the ABI writes it, its address and length as two operands.
    pub fn pairs(&mut self, pairs: &[(&str, &str)]) -> String {
        let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
        let mut bytes = number(pairs.len()).to_vec();
        for (name, value) in pairs {
            bytes.extend([number(name.len()), number(value.len())].concat());
        }
        for (name, value) in pairs {
            bytes.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        self.string(std::str::from_utf8(&bytes).unwrap())
    }

    /// What was read last (its address at 64, its length at 68) written to a request's header.
    pub fn read_to_header(&mut self, name: &str) -> String {
        let name = self.string(name);
        format!(
            "(drop (call $proxy_add_header_map_value (i32.const 0) {name} \
             (i32.load (i32.const 64)) (i32.load (i32.const 68))))"
        )
    }

    /// A number from 0 to 9 written to a request's header.
    pub fn digit_to_header(&mut self, number: &str, name: &str) -> String {
        let name = self.string(name);
        format!(
            "(call $digit (i32.const 8192) {number}) \
             (drop (call $proxy_add_header_map_value (i32.const 0) {name} (i32.const 8192) (i32.const 1)))"
        )
    }

    /// The whole body of a buffer (0: request, 1: response) replaced.
    pub fn replace_body(&mut self, buffer: u32, body: &str) -> String {
        let body = self.string(body);
        format!(
            "(drop (call $proxy_set_buffer_bytes (i32.const {buffer}) (i32.const 0) (i32.const 2147483647) {body}))"
        )
    }

    /// The compiled module.
    pub fn wasm(self) -> Vec<u8> {
        let data: String = self.data.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let text = format!("(module {}\n(data (i32.const {DATA}) \"{data}\"))", self.text);
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}

/// A folder of guests.
pub struct Guests(TempDir);

impl Guests {
    /// An empty one.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a guest; gives its file.
    pub fn file(&self, name: &str, guest: Guest) -> PathBuf {
        let file = self.0.path().join(format!("{name}.wasm"));
        std::fs::write(&file, guest.wasm()).unwrap();
        file
    }
}
