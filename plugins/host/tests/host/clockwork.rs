//! An environment whose clock the test moves, and that remembers what it was told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use coditect_proxy_wasm::{
    Direction, Engine, EngineSettings, Environment, LogRecord, Plugin, PluginConfig, Quarantine, StreamError,
};

use crate::world::{Http, http, share};

pub(crate) const SECOND: u64 = 1_000_000_000;

#[derive(Default)]
pub(crate) struct Clockwork {
    now: AtomicU64,
    lines: Mutex<Vec<String>>,
    quarantines: Mutex<Vec<Quarantine>>,
}

impl Environment for Clockwork {
    fn realtime_nanoseconds(&self) -> u64 {
        self.monotonic_nanoseconds()
    }

    fn monotonic_nanoseconds(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(4);
    }

    fn log(&self, record: &LogRecord<'_>) {
        self.lines.lock().unwrap().push(format!("{}: {record}", record.tenant));
    }

    fn quarantined(&self, quarantine: &Quarantine) {
        self.quarantines.lock().unwrap().push(quarantine.clone());
    }
}

impl Clockwork {
    pub(crate) fn advance(&self, nanoseconds: u64) {
        self.now.fetch_add(nanoseconds, Ordering::SeqCst);
    }

    /// Takes the lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }

    /// Takes the quarantines it was told of so far.
    pub(crate) fn quarantines(&self) -> Vec<Quarantine> {
        std::mem::take(&mut *self.quarantines.lock().unwrap())
    }
}

pub(crate) fn engine(settings: EngineSettings) -> (Engine, Arc<Clockwork>) {
    let settings = EngineSettings { own_threads: false, ..settings };
    let clock = Arc::new(Clockwork::default());
    let engine = Engine::new(settings, Arc::clone(&clock) as Arc<dyn Environment>).expect("an engine");
    (engine, clock)
}

/// A plugin in an engine of its own.
pub(crate) fn load(wasm: Vec<u8>, configure: impl FnOnce(&mut PluginConfig)) -> (Plugin, Arc<Clockwork>) {
    let (engine, clock) = engine(EngineSettings { max_instances: 8, ..EngineSettings::default() });
    let mut config = PluginConfig::new("test", wasm);
    configure(&mut config);
    (engine.load(config).expect("the plugin loads"), clock)
}

/// One request: a stream that sees the request's headers and ends.
pub(crate) fn request(plugin: &Plugin, tenant: &str) -> Result<(), StreamError> {
    request_with(plugin, tenant, &http())
}

pub(crate) fn request_with(
    plugin: &Plugin,
    tenant: &str,
    http: &Arc<Mutex<Http>>,
) -> Result<(), StreamError> {
    let mut stream = plugin.open(tenant, share(http))?;
    let _ = stream.on_headers(Direction::Request, true)?;
    stream.close()
}
