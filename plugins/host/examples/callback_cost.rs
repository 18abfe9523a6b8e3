//! What one request costs in a plugin: `callback_cost FILE.wasm [CONFIGURATION]`.
//!
//! Prints CPU time on this thread per request, for a stream context created, its request headers seen, and deleted,
//! and for the same with the response headers; and how long loading and the first stream took.
#![allow(clippy::print_stdout, reason = "it is a command")]

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use coditect_proxy_wasm::{
    Chain, Direction, Engine, EngineSettings, Environment, Exchange, HeaderMap, Item, Link, LogRecord,
    Plugin, PluginConfig, Refused, SharedExchange,
};
use futures::executor::block_on;
use rustix::time::{ClockId, clock_gettime};

const REQUESTS: u32 = 200_000;

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

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A request as a browser sends it, over plain vectors.
#[derive(Clone)]
struct Request {
    request: Pairs,
    response: Pairs,
}

fn pairs(list: &[(&str, &str)]) -> Pairs {
    list.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

impl Request {
    fn new() -> Self {
        Self {
            request: pairs(&[
                (":authority", "ide.example"),
                (":path", "/theia/socket.io/?EIO=4&transport=polling"),
                (":method", "GET"),
                (":scheme", "https"),
                ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
                ("accept", "*/*"),
                ("accept-encoding", "gzip, deflate, br"),
                ("accept-language", "en"),
                ("cookie", "session=0123456789abcdef0123456789abcdef"),
                ("x-coditect-region", "eu-west"),
            ]),
            response: pairs(&[
                (":status", "200"),
                ("content-type", "text/plain"),
                ("content-length", "1024"),
            ]),
        }
    }

    fn map(&mut self, map: HeaderMap) -> &mut Pairs {
        match map {
            HeaderMap::Request => &mut self.request,
            _ => &mut self.response,
        }
    }

    fn read(&self, map: HeaderMap) -> &Pairs {
        match map {
            HeaderMap::Request => &self.request,
            _ => &self.response,
        }
    }
}

impl Exchange for Request {
    fn request_id(&self) -> &str {
        "bench"
    }

    fn header_count(&self, map: HeaderMap) -> usize {
        self.read(map).len()
    }

    fn visit_headers(&self, map: HeaderMap, visit: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in self.read(map) {
            visit(name, value);
        }
    }

    fn header(&self, map: HeaderMap, name: &[u8], value: &mut Vec<u8>) -> bool {
        let found = self.read(map).iter().find(|(key, _)| key == name);
        found.is_some_and(|(_, first)| {
            value.extend_from_slice(first);
            true
        })
    }

    fn set_headers(&mut self, map: HeaderMap, pairs: &[(&[u8], &[u8])]) -> Result<(), Refused> {
        *self.map(map) = pairs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        Ok(())
    }

    fn add_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.map(map).push((name.to_vec(), value.to_vec()));
        Ok(())
    }

    fn replace_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.map(map).retain(|(key, _)| key != name);
        self.add_header(map, name, value)
    }

    fn remove_header(&mut self, map: HeaderMap, name: &[u8]) -> Result<(), Refused> {
        self.map(map).retain(|(key, _)| key != name);
        Ok(())
    }

    fn property(&self, path: &[&[u8]], value: &mut Vec<u8>) -> bool {
        let known = matches!(*path, [b"coditect", b"tenant"]);
        if known {
            value.extend_from_slice(b"3f0c6a52-7d6e-4a52-9a53-0c3f8f1f9b11");
        }
        known
    }

    fn set_property(&mut self, _path: &[&[u8]], _value: &[u8]) -> Result<(), Refused> {
        Ok(())
    }

    fn fork(&self) -> SharedExchange {
        Arc::new(Mutex::new(self.clone()))
    }
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn request(plugin: &Plugin, plugins: usize, response: bool) -> Result<(), Box<dyn Error>> {
    let link = || Link { plugin: plugin.clone(), shadow: false, observer: None };
    let links = (0..plugins).map(|_| link()).collect();
    let mut chain = Chain::new(Arc::new(Mutex::new(Request::new())), "tenant", links);
    let headers = Item::Headers { end: true };
    block_on(chain.push(Direction::Request, headers.clone())).map_err(|stop| format!("stopped: {stop:?}"))?;
    if response {
        block_on(chain.push(Direction::Response, headers)).map_err(|stop| format!("stopped: {stop:?}"))?;
    }
    chain.finish();
    Ok(())
}

fn measure(name: &str, run: impl Fn() -> Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    for _ in 0..REQUESTS / 10 {
        run()?;
    }
    let from = cpu();
    for _ in 0..REQUESTS {
        run()?;
    }
    println!("{name}: {:?} of CPU per request", (cpu() - from) / REQUESTS);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: callback_cost FILE.wasm [CONFIGURATION]")?;
    let wasm = std::fs::read(&file)?;
    let engine = Engine::new(EngineSettings::default(), Arc::new(Machine))?;
    let mut config = PluginConfig::new("bench", wasm);
    config.configuration = arguments.next().unwrap_or_default().into_bytes();
    let from = Instant::now();
    let plugin = engine.load(config)?;
    println!("loaded (compiled, canary run) in {:?}", from.elapsed());
    let from = Instant::now();
    plugin.warm("tenant")?;
    println!("first instance of a tenant in {:?}", from.elapsed());
    measure("a request made and dropped, no plugin", || {
        std::hint::black_box(Request::new());
        Ok(())
    })?;
    measure("request headers", || request(&plugin, 1, false))?;
    measure("request and response headers", || request(&plugin, 1, true))?;
    measure("request headers, five times", || request(&plugin, 5, false))
}
