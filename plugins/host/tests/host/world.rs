//! The embedder's side in tests: an exchange over plain vectors, and an environment that remembers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use coditect_proxy_wasm::{
    CallFailure, CallRefused, CallSource, Direction, Engine, EngineSettings, Environment, Exchange,
    ForeignError, GrpcCall, GrpcEvents, GrpcHandle, HeaderMap, HttpCall, HttpCallResponse, HttpReply,
    LogLevel, LogRecord, Plugin, PluginConfig, Refused, SharedExchange,
};

/// A fixed clock, a counting random source, and the log lines so far.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) log: Mutex<Vec<Line>>,
    /// Nanoseconds since the fixed start.
    pub(crate) elapsed: AtomicU64,
    /// Calls out that wait for an answer.
    pub(crate) http_calls: Mutex<Vec<(CallSource, HttpCall, HttpReply)>>,
    pub(crate) grpc_calls: Mutex<Vec<(CallSource, GrpcCall, GrpcEvents)>>,
    /// Refuses calls out.
    pub(crate) refuses: AtomicBool,
    /// Takes calls out and drops what they would be answered with.
    pub(crate) forgets: AtomicBool,
    /// Calls out that were asked for.
    pub(crate) asked: AtomicU64,
    /// What guests did with their gRPC calls.
    pub(crate) grpc_log: Arc<Mutex<Vec<String>>>,
}

/// A gRPC call's far end, which notes what it is told.
struct FarEnd(Arc<Mutex<Vec<String>>>);

impl FarEnd {
    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl GrpcHandle for FarEnd {
    fn send(&self, message: Bytes, end_stream: bool) -> Result<(), CallRefused> {
        self.note(format!("send {} {end_stream}", String::from_utf8_lossy(&message)));
        Ok(())
    }

    fn close_local(&self) {
        self.note("close".to_owned());
    }

    fn cancel(&self) {
        self.note("cancel".to_owned());
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) level: LogLevel,
    pub(crate) tenant: String,
    pub(crate) request_id: Option<String>,
    pub(crate) message: Vec<u8>,
}

pub(crate) const REALTIME: u64 = 1_700_000_000_000_000_123;
pub(crate) const MONOTONIC: u64 = 42;

impl Environment for World {
    fn realtime_nanoseconds(&self) -> u64 {
        REALTIME
    }

    fn monotonic_nanoseconds(&self) -> u64 {
        MONOTONIC + self.elapsed.load(Ordering::SeqCst)
    }

    fn http_call(&self, source: &CallSource, call: HttpCall, reply: HttpReply) -> Result<(), CallRefused> {
        self.begin()?;
        if !self.forgets.load(Ordering::SeqCst) {
            self.http_calls.lock().unwrap().push((source.clone(), call, reply));
        }
        Ok(())
    }

    fn grpc_call(
        &self,
        source: &CallSource,
        call: GrpcCall,
        events: GrpcEvents,
    ) -> Result<Box<dyn GrpcHandle>, CallRefused> {
        self.begin()?;
        if !self.forgets.load(Ordering::SeqCst) {
            self.grpc_calls.lock().unwrap().push((source.clone(), call, events));
        }
        Ok(Box::new(FarEnd(Arc::clone(&self.grpc_log))))
    }

    fn foreign_function(&self, name: &str, arguments: &[u8]) -> Option<Result<Vec<u8>, ForeignError>> {
        match name {
            "reverse" => Some(Ok(arguments.iter().rev().copied().collect())),
            "refuse" => Some(Err(ForeignError)),
            _ => None,
        }
    }

    fn random(&self, buffer: &mut [u8]) {
        for (byte, value) in buffer.iter_mut().zip((1..=u8::MAX).cycle()) {
            *byte = value;
        }
    }

    fn log(&self, record: &LogRecord<'_>) {
        self.log.lock().unwrap().push(Line {
            level: record.level,
            tenant: record.tenant.to_owned(),
            request_id: record.request_id.map(str::to_owned),
            message: record.message.to_vec(),
        });
    }
}

impl World {
    fn begin(&self) -> Result<(), CallRefused> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.refuses.load(Ordering::SeqCst) { Err(CallRefused::Busy) } else { Ok(()) }
    }

    /// Takes the numbers that guests reported (see `guest::Guest`), and forgets them.
    pub(crate) fn reports(&self) -> Vec<u32> {
        let lines = std::mem::take(&mut *self.log.lock().unwrap());
        lines.iter().map(|line| u32::from_le_bytes(*line.message.first_chunk().expect("a report"))).collect()
    }

    /// Takes the messages as text.
    pub(crate) fn texts(&self) -> Vec<String> {
        let lines = std::mem::take(&mut *self.log.lock().unwrap());
        lines.into_iter().map(|line| String::from_utf8(line.message).unwrap()).collect()
    }

    /// Answers the oldest HTTP call.
    pub(crate) fn answer(&self, response: Result<HttpCallResponse, CallFailure>) -> HttpCall {
        let (_, call, reply) = self.http_calls.lock().unwrap().remove(0);
        reply.send(response);
        call
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.elapsed.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn clear(&self) {
        self.log.lock().unwrap().clear();
    }
}

/// An engine, and its world. Everything happens where it is called, so that one thing comes after the other.
pub(crate) fn engine_with(settings: EngineSettings) -> (Engine, Arc<World>) {
    let settings = EngineSettings { own_threads: false, ..settings };
    let world = Arc::new(World::default());
    let engine = Engine::new(settings, Arc::clone(&world) as Arc<dyn Environment>).expect("an engine");
    (engine, world)
}

pub(crate) fn engine() -> (Engine, Arc<World>) {
    engine_with(EngineSettings { max_instances: 8, ..EngineSettings::default() })
}

/// A loaded plugin and its world; what the canary reported is forgotten.
pub(crate) fn load(wasm: Vec<u8>) -> (Plugin, Arc<World>) {
    load_with(wasm, |_| {})
}

/// The same with a configuration of its own.
pub(crate) fn load_with(wasm: Vec<u8>, configure: impl FnOnce(&mut PluginConfig)) -> (Plugin, Arc<World>) {
    let (engine, world) = engine();
    let mut config = PluginConfig::new("test", wasm);
    // Guests report to the test by what they log.
    config.limits.log_lines_per_second = u32::MAX;
    configure(&mut config);
    let plugin = engine.load(config).expect("the plugin loads");
    world.clear();
    (plugin, world)
}

/// Opens a stream, runs both header callbacks, and closes it.
pub(crate) fn exchange(plugin: &Plugin, http: &Arc<Mutex<Http>>) {
    exchange_of(plugin, "tenant", http);
}

/// The same for a tenant.
pub(crate) fn exchange_of(plugin: &Plugin, tenant: &str, http: &Arc<Mutex<Http>>) {
    let mut stream = plugin.open(tenant, share(http)).expect("a stream");
    let _ = stream.on_headers(Direction::Request, true).expect("request headers");
    let _ = stream.on_headers(Direction::Response, true).expect("response headers");
    stream.close().expect("the end");
}

/// An exchange as the embedder holds it.
pub(crate) fn http() -> Arc<Mutex<Http>> {
    Arc::default()
}

/// The same as the host gets it.
pub(crate) fn share(http: &Arc<Mutex<Http>>) -> SharedExchange {
    Arc::clone(http) as SharedExchange
}

pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A request and a response.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) request: Pairs,
    pub(crate) request_trailers: Pairs,
    pub(crate) response: Pairs,
    pub(crate) response_trailers: Pairs,
    pub(crate) properties: Vec<(Vec<Vec<u8>>, Vec<u8>)>,
    pub(crate) request_id: String,
}

pub(crate) fn pairs(list: &[(&str, &str)]) -> Pairs {
    list.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// The properties this embedder supplies.
const SUPPLIED: &[&str] = &[
    "connection.id",
    "request.protocol",
    "request.size",
    "request.time",
    "request.duration",
    "response.code_details",
    "response.flags",
    "response.size",
    "source.address",
    "upstream.address",
    "coditect.tenant",
];

fn segments(path: &str) -> Vec<Vec<u8>> {
    path.split('.').map(|segment| segment.as_bytes().to_vec()).collect()
}

impl Default for Http {
    fn default() -> Self {
        Self {
            request: pairs(&[
                (":authority", "a.example"),
                (":path", "/x?q=1"),
                (":method", "GET"),
                (":scheme", "http"),
                ("x-a", "1"),
                ("x-a", "2"),
            ]),
            request_trailers: pairs(&[("x-t", "1")]),
            response: pairs(&[(":status", "200"), ("content-type", "text/plain")]),
            response_trailers: pairs(&[("x-u", "2")]),
            properties: SUPPLIED.iter().map(|path| (segments(path), b"supplied".to_vec())).collect(),
            request_id: "req-1".to_owned(),
        }
    }
}

impl Http {
    /// All values of a request header.
    pub(crate) fn request_values(&self, name: &str) -> Vec<String> {
        values(&self.request, name)
    }

    fn map(&self, map: HeaderMap) -> &Pairs {
        match map {
            HeaderMap::Request => &self.request,
            HeaderMap::RequestTrailers => &self.request_trailers,
            HeaderMap::Response => &self.response,
            HeaderMap::ResponseTrailers => &self.response_trailers,
        }
    }

    fn map_mut(&mut self, map: HeaderMap) -> &mut Pairs {
        match map {
            HeaderMap::Request => &mut self.request,
            HeaderMap::RequestTrailers => &mut self.request_trailers,
            HeaderMap::Response => &mut self.response,
            HeaderMap::ResponseTrailers => &mut self.response_trailers,
        }
    }
}

fn values(map: &Pairs, name: &str) -> Vec<String> {
    let matching = map.iter().filter(|(key, _)| key == name.as_bytes());
    matching.map(|(_, value)| String::from_utf8(value.clone()).unwrap()).collect()
}

/// The one header this embedder keeps to itself.
const PROTECTED: &[u8] = b"x-coditect-user";

fn allowed(name: &[u8]) -> Result<(), Refused> {
    if name == PROTECTED { Err(Refused) } else { Ok(()) }
}

impl Exchange for Http {
    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn header_count(&self, map: HeaderMap) -> usize {
        self.map(map).len()
    }

    fn visit_headers(&self, map: HeaderMap, visit: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in self.map(map) {
            visit(name, value);
        }
    }

    fn header(&self, map: HeaderMap, name: &[u8], value: &mut Vec<u8>) -> bool {
        let found = self.map(map).iter().find(|(key, _)| key == name);
        found.is_some_and(|(_, first)| {
            value.extend_from_slice(first);
            true
        })
    }

    fn set_headers(&mut self, map: HeaderMap, pairs: &[(&[u8], &[u8])]) -> Result<(), Refused> {
        pairs.iter().try_for_each(|(name, _)| allowed(name))?;
        *self.map_mut(map) = pairs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        Ok(())
    }

    fn add_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        allowed(name)?;
        self.map_mut(map).push((name.to_vec(), value.to_vec()));
        Ok(())
    }

    fn replace_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        allowed(name)?;
        self.map_mut(map).retain(|(key, _)| key != name);
        self.add_header(map, name, value)
    }

    fn remove_header(&mut self, map: HeaderMap, name: &[u8]) -> Result<(), Refused> {
        allowed(name)?;
        self.map_mut(map).retain(|(key, _)| key != name);
        Ok(())
    }

    fn property(&self, path: &[&[u8]], value: &mut Vec<u8>) -> bool {
        let found =
            self.properties.iter().find(|(key, _)| key.iter().map(Vec::as_slice).eq(path.iter().copied()));
        found.is_some_and(|(_, bytes)| {
            value.extend_from_slice(bytes);
            true
        })
    }

    fn set_property(&mut self, path: &[&[u8]], value: &[u8]) -> Result<(), Refused> {
        if path.first() == Some(&&b"coditect"[..]) {
            return Err(Refused);
        }
        self.properties.push((path.iter().map(|segment| segment.to_vec()).collect(), value.to_vec()));
        Ok(())
    }

    fn fork(&self) -> SharedExchange {
        Arc::new(Mutex::new(self.clone()))
    }
}
