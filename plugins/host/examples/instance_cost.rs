//! What each further tenant of a plugin costs: `instance_cost FILE.wasm [CONFIGURATION]`.
//!
//! Prints how long the plugin takes to load, compiled and from the cache on disk, and to serve its first request; then,
//! for a few hundred tenants with an instance each that served a request: resident memory and page tables per instance,
//! the time a fresh instance and its first request take, and what is resident when all of them are gone.
#![allow(clippy::print_stdout, reason = "it is a command")]

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use coditect_proxy_wasm::{
    Direction, Engine, EngineSettings, Environment, Exchange, HeaderMap, LogRecord, Plugin, PluginConfig,
    Refused, SharedExchange,
};

/// Instances made before measuring, so that what the first ones bring along is not counted.
const WARM_UP: u32 = 50;

/// Instances measured.
const TENANTS: u32 = 500;

struct Machine;

impl Environment for Machine {
    fn realtime_nanoseconds(&self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
    }

    fn monotonic_nanoseconds(&self) -> u64 {
        self.realtime_nanoseconds()
    }

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(4);
    }

    fn log(&self, record: &LogRecord<'_>) {
        println!("{:?}: {record}", record.level);
    }
}

/// A request that no plugin can change.
struct Request;

const HEADERS: [(&[u8], &[u8]); 6] = [
    (b":authority", b"ide.example"),
    (b":path", b"/theia/socket.io/?EIO=4&transport=polling"),
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
    (b"cookie", b"session=0123456789abcdef0123456789abcdef"),
];

impl Exchange for Request {
    fn fork(&self) -> SharedExchange {
        Arc::new(Mutex::new(Self))
    }

    fn request_id(&self) -> &str {
        "bench"
    }

    fn header_count(&self, _map: HeaderMap) -> usize {
        HEADERS.len()
    }

    fn visit_headers(&self, _map: HeaderMap, visit: &mut dyn FnMut(&[u8], &[u8])) {
        HEADERS.iter().for_each(|(name, value)| visit(name, value));
    }

    fn header(&self, _map: HeaderMap, name: &[u8], value: &mut Vec<u8>) -> bool {
        let found = HEADERS.iter().find(|(known, _)| *known == name);
        found.is_some_and(|(_, first)| {
            value.extend_from_slice(first);
            true
        })
    }

    fn set_headers(&mut self, _map: HeaderMap, _pairs: &[(&[u8], &[u8])]) -> Result<(), Refused> {
        Ok(())
    }

    fn add_header(&mut self, _map: HeaderMap, _name: &[u8], _value: &[u8]) -> Result<(), Refused> {
        Ok(())
    }

    fn replace_header(&mut self, _map: HeaderMap, _name: &[u8], _value: &[u8]) -> Result<(), Refused> {
        Ok(())
    }

    fn remove_header(&mut self, _map: HeaderMap, _name: &[u8]) -> Result<(), Refused> {
        Ok(())
    }

    fn property(&self, _path: &[&[u8]], _value: &mut Vec<u8>) -> bool {
        false
    }

    fn set_property(&mut self, _path: &[&[u8]], _value: &[u8]) -> Result<(), Refused> {
        Ok(())
    }
}

fn request(plugin: &Plugin, tenant: &str) -> Result<(), Box<dyn Error>> {
    let mut stream = plugin.open(tenant, Arc::new(Mutex::new(Request)))?;
    drop(stream.on_headers(Direction::Request, true)?);
    Ok(stream.close()?)
}

/// Memory of this process in KiB.
#[derive(Clone, Copy)]
struct Memory {
    resident: u64,
    page_tables: u64,
}

impl Memory {
    fn now() -> Result<Self, Box<dyn Error>> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).ok_or("no such line in /proc")
        };
        Ok(Self { resident: field("VmRSS:")?, page_tables: field("VmPTE:")? })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: instance_cost FILE.wasm [CONFIGURATION]")?;
    let mut config = PluginConfig::new("cost", std::fs::read(&file)?);
    config.configuration = arguments.next().unwrap_or_default().into_bytes();

    let folder = tempfile::tempdir()?;
    let settings = EngineSettings { cache_dir: Some(folder.path().to_owned()), ..EngineSettings::default() };
    let start = Instant::now();
    Engine::new(settings.clone(), Arc::new(Machine))?.load(config.clone())?;
    println!(
        "load: compiled, put into the cache, one instance started and configured: {:?}",
        start.elapsed()
    );
    let engine = Engine::new(settings, Arc::new(Machine))?;
    let start = Instant::now();
    let plugin = engine.load(config)?;
    println!("load: from the cache, one instance started and configured: {:?}", start.elapsed());
    if engine.stats().modules_from_cache != 1 {
        return Err("the cache was not used".into());
    }
    let start = Instant::now();
    request(&plugin, "first")?;
    println!("first request, its tenant's instance included: {:?}", start.elapsed());

    for number in 0..WARM_UP {
        request(&plugin, &format!("warm-up {number}"))?;
    }
    let before = Memory::now()?;
    let start = Instant::now();
    for number in 0..TENANTS {
        request(&plugin, &format!("tenant {number}"))?;
    }
    let elapsed = start.elapsed();
    let after = Memory::now()?;
    let each = |from: u64, to: u64| to.saturating_sub(from) as f64 / f64::from(TENANTS);
    println!("each of {TENANTS} further tenants:");
    println!("  resident: {:.1} KiB", each(before.resident, after.resident));
    println!("  page tables: {:.1} KiB", each(before.page_tables, after.page_tables));
    println!("  fresh instance and its first request: {:?}", elapsed / TENANTS);
    println!("alive: {}, resident {} KiB", engine.live_instances(), after.resident);
    drop(plugin);
    println!("alive: {}, resident {} KiB", engine.live_instances(), Memory::now()?.resident);
    Ok(())
}
