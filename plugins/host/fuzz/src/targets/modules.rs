//! Module loading: the input is the module.

use std::sync::Arc;
use std::time::Duration;

use coditect_proxy_wasm::{CheckDepth, Engine, EngineSettings, PluginConfig};

use super::Target;
use crate::world::{World, engine_with};

/// An engine that checks what it is given and keeps nothing.
pub(crate) struct Modules {
    engine: Engine,
    world: Arc<World>,
}

impl Modules {
    pub(crate) fn new() -> Self {
        let (engine, world) =
            engine_with(EngineSettings { max_instances: 4, own_threads: false, ..EngineSettings::default() });
        Self { engine, world }
    }
}

impl Target for Modules {
    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"\0asm\x01\0\0\0",
            b"\x03env",
            b"\x16wasi_snapshot_preview1",
            b"\x06memory",
            b"\x06malloc",
            b"\x09proxy_log",
            b"\x0aproxy_done",
            b"\x17proxy_abi_version_0_2_1",
            b"\x17proxy_abi_version_0_1_0",
            b"\x12proxy_on_configure",
            b"\x18proxy_on_request_headers",
            b"\x06_start",
            b"\x0b_initialize",
            b"\x0d\x00\x0b",
            b"\x03\x40\x0c\x00\x0b\x0b",
            b"\x60\x00\x00",
            b"\x60\x01\x7f\x01\x7f",
            b"\x60\x02\x7f\x7f\x01\x7f",
            b"\x60\x03\x7f\x7f\x7f\x01\x7f",
            b"\x40\x00",
        ]
    }

    fn run(&mut self, input: &[u8]) {
        let mut config = PluginConfig::new("fuzzed", input);
        config.limits.start_cpu = Duration::from_millis(5);
        config.limits.callback_cpu = Duration::from_millis(1);
        config.limits.memory_bytes = 1024 * 1024;
        config.configuration = b"configuration".to_vec();
        let loaded = self.engine.check(config, CheckDepth::Configured);
        if let Err(error) = loaded {
            assert!(error.to_string().starts_with("plugin `fuzzed`: "), "{error}");
        }
        assert_eq!((self.engine.live_instances(), self.engine.live_modules()), (0, 0), "nothing stays");
        self.world.clear();
    }
}
