//! The header-pairs codec: a guest sets all request headers from the input and reads them back.

use std::sync::Arc;

use bytes::Bytes;
use coditect_proxy_wasm::{Direction, MAX_PAIRS, MAX_PAIRS_BYTES, Plugin};

use super::Target;
use crate::guest::Guest;
use crate::world::{Http, Pairs as List, World, http, load_with, share};

/// Holds the headers, so that they can be written while the body, which is the input, is there.
pub(crate) struct Pairs {
    plugin: Plugin,
    world: Arc<World>,
}

impl Pairs {
    pub(crate) fn new() -> Self {
        let body = "(global.set $heap (i32.const 65536))
            (drop (call $proxy_get_buffer_bytes (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 64) (i32.const 68)))
            (call $report (call $proxy_set_header_map_pairs (i32.const 0) (i32.load (i32.const 64)) (i32.load (i32.const 68))))
            (drop (call $proxy_get_header_map_pairs (i32.const 0) (i32.const 64) (i32.const 68)))
            (call $say_out) (i32.const 0)";
        let guest =
            Guest::new().on("proxy_on_request_headers", "(i32.const 1)").on("proxy_on_request_body", body);
        let (plugin, world) = load_with(guest.wasm(), |config| {
            config.stop_iteration = true;
            // What counters and checks add is not the guest's.
            config.limits.callback_cpu = std::time::Duration::from_secs(60);
            config.limits.header_bytes = usize::MAX;
            config.limits.log_bytes = usize::MAX;
        });
        Self { plugin, world }
    }
}

impl Target for Pairs {
    fn words(&self) -> &'static [&'static [u8]] {
        &[b"\0", b"\x01\0\0\0", b"x-a\0", b":path\0", b"x-coditect-user\0", b"\r\n", b"X-B\0"]
    }

    fn run(&mut self, input: &[u8]) {
        self.world.clear();
        let http = http();
        let mut stream = self.plugin.open("tenant", share(&http)).expect("an instance");
        let _held = stream.on_headers(Direction::Request, false).expect("held");
        let _passed = stream.on_body(Direction::Request, Bytes::copy_from_slice(input), false).expect("run");
        drop(stream);
        let request = http.lock().unwrap().request.clone();
        let (status, expected) = match decode(input).filter(|pairs| pairs.iter().all(is_header)) {
            Some(pairs) => (0, pairs),
            None => (2_u32, Http::default().request),
        };
        let lines = self.world.log.lock().unwrap();
        let lines: Vec<&[u8]> = lines.iter().map(|line| &line.message[..]).collect();
        assert_eq!(request, expected, "what the embedder has");
        assert_eq!(lines, [&status.to_le_bytes()[..], &encode(&expected)], "what the guest has");
    }
}

/// The specification's reading of a map, with names in lower case. Written apart from the host's.
fn decode(bytes: &[u8]) -> Option<List> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    if bytes.len() > MAX_PAIRS_BYTES {
        return None;
    }
    let mut words =
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let count = usize::try_from(words.next()?).ok().filter(|count| *count <= MAX_PAIRS)?;
    let lengths: Vec<u32> = words.take(count * 2).collect();
    if lengths.len() < count * 2 {
        return None;
    }
    let mut rest = bytes.get(4 + count * 8..)?;
    let mut strings = Vec::new();
    for length in lengths {
        let length = usize::try_from(length).ok()?;
        let (string, after) = rest.split_at_checked(length)?;
        let ([0], after) = after.split_at_checked(1)? else { return None };
        strings.push(string.to_vec());
        rest = after;
    }
    if !rest.is_empty() {
        return None;
    }
    Some(strings.chunks_exact(2).map(|pair| (pair[0].to_ascii_lowercase(), pair[1].clone())).collect())
}

/// Whether a guest may give a request that header (RFC 9110, section 5; the test's embedder keeps one to itself).
fn is_header((name, value): &(Vec<u8>, Vec<u8>)) -> bool {
    const TOKEN: &[u8] = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
    let pseudo: [&[u8]; 4] = [b":authority", b":path", b":method", b":scheme"];
    let named =
        pseudo.contains(&name.as_slice()) || !name.is_empty() && name.iter().all(|byte| TOKEN.contains(byte));
    let sound = value.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f);
    named && sound && name != b"x-coditect-user"
}

/// The wire form; nothing for no pairs.
fn encode(pairs: &List) -> Vec<u8> {
    if pairs.is_empty() {
        return Vec::new();
    }
    let word = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
    let mut bytes = word(pairs.len()).to_vec();
    for (name, value) in pairs {
        bytes.extend(word(name.len()).into_iter().chain(word(value.len())));
    }
    for (name, value) in pairs {
        bytes.extend(name.iter().chain(&[0]).chain(value).chain(&[0]));
    }
    bytes
}
