//! Property paths: a guest gets, sets and gets again what the input names.

use std::sync::Arc;

use bytes::Bytes;
use coditect_proxy_wasm::{Direction, MAX_PROPERTY_PATH_BYTES, MAX_PROPERTY_SEGMENTS, Plugin};

use super::Target;
use crate::guest::Guest;
use crate::world::{World, http, load_with, share};

/// The input is a path; the value that is set is the path again.
pub(crate) struct Properties {
    plugin: Plugin,
    world: Arc<World>,
}

impl Properties {
    pub(crate) fn new() -> Self {
        let get = "(call $report (call $proxy_get_property (global.get $at) (global.get $length) (i32.const 64) (i32.const 68)))";
        let body = format!(
            "(global.set $heap (i32.const 65536))
             (drop (call $proxy_get_buffer_bytes (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 64) (i32.const 68)))
             (global.set $at (i32.load (i32.const 64))) (global.set $length (i32.load (i32.const 68)))
             {get}
             (call $report (call $proxy_set_property
               (global.get $at) (global.get $length) (global.get $at) (global.get $length)))
             {get} (call $say_out) (i32.const 0)"
        );
        let guest = Guest::new()
            .with("(global $at (mut i32) (i32.const 0)) (global $length (mut i32) (i32.const 0))")
            .on("proxy_on_request_headers", "(i32.const 1)")
            .on("proxy_on_request_body", &body);
        let (plugin, world) = load_with(guest.wasm(), |config| {
            config.stop_iteration = true;
            // What counters and checks add is not the guest's.
            config.limits.callback_cpu = std::time::Duration::from_secs(60);
            config.limits.property_bytes = usize::MAX;
            config.limits.log_bytes = usize::MAX;
        });
        Self { plugin, world }
    }
}

impl Target for Properties {
    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"\0",
            b"request",
            b"response",
            b"headers",
            b"x-a",
            b"X-A",
            b"path",
            b"url_path",
            b"query",
            b"code",
            b"trailers",
            b"plugin_name",
            b"plugin_root_id",
            b"filter_state",
            b"upstream",
            b"address",
            b"coditect",
            b"tenant_id",
            b"source",
            b"connection",
            b"id",
            b"duration",
            b"size",
            b"metadata",
        ]
    }

    fn run(&mut self, input: &[u8]) {
        self.world.clear();
        let http = http();
        http.lock().unwrap().properties.clear();
        let mut stream = self.plugin.open("tenant", share(&http)).expect("an instance");
        let _held = stream.on_headers(Direction::Request, false).expect("held");
        let _passed = stream.on_body(Direction::Request, Bytes::copy_from_slice(input), false).expect("run");
        drop(stream);
        let lines = std::mem::take(&mut *self.world.log.lock().unwrap());
        let status =
            |index: usize| u32::from_le_bytes(*lines[index].message.first_chunk().expect("a status"));
        let (first, set, second) = (status(0), status(1), status(2));
        assert!([0, 1, 3].contains(&first) && [0, 1, 3].contains(&second), "{first} {second}");
        let path = segments(input);
        let ours = path.as_ref().is_some_and(|path| path.first().is_some_and(|first| *first == b"coditect"));
        assert_eq!(set, if path.is_some() && !ours { 0 } else { 2 });
        let expected: Vec<_> = path
            .filter(|_| set == 0)
            .map(|path| (path.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), input.to_vec()))
            .into_iter()
            .collect();
        assert_eq!(http.lock().unwrap().properties, expected, "what the embedder has");
        if set == 0 && first == 1 && second == 0 {
            assert_eq!(lines[3].message, input, "it is there, and what was set");
        }
    }
}

/// The specification's reading of a path: segments with a NUL between them, and perhaps one at the end.
fn segments(path: &[u8]) -> Option<Vec<&[u8]>> {
    if path.is_empty() || path.len() > MAX_PROPERTY_PATH_BYTES {
        return None;
    }
    let path = if path.ends_with(&[0]) { &path[..path.len() - 1] } else { path };
    let segments: Vec<&[u8]> = path.split(|byte| *byte == 0).collect();
    (segments.len() <= MAX_PROPERTY_SEGMENTS).then_some(segments)
}
