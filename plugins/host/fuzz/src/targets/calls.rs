//! Host-call arguments: the input is a program of host calls, which a guest runs in every callback of a stream's life.

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use coditect_proxy_wasm::{
    CallRefused, CallSource, Direction, Engine, EngineSettings, Environment, ForeignError, GrpcCall,
    GrpcEvents, GrpcHandle, HttpCall, HttpCallResponse, HttpReply, LogRecord, Plugin, PluginConfig,
    StreamError,
};

use super::Target;
use super::oracle::{HEAP, HEAP_BYTES, Oracle};
use crate::signatures::{HOST_CALLS, HostCall};
use crate::world::{World, http, share};

/// Calls of one program.
const MAX_CALLS: usize = 12;
/// A call's number, and twelve arguments.
const RECORD_BYTES: u32 = 8 + 12 * 8;
/// Where the program is run from, and where strings to point at are.
const PROGRAM: u32 = 1024;
const STRINGS: u32 = 20_000;

/// The world, with the program as a foreign function.
struct Programmed {
    world: World,
    program: Mutex<Vec<u8>>,
}

impl Environment for Programmed {
    fn realtime_nanoseconds(&self) -> u64 {
        self.world.realtime_nanoseconds()
    }

    fn monotonic_nanoseconds(&self) -> u64 {
        self.world.monotonic_nanoseconds()
    }

    fn random(&self, buffer: &mut [u8]) {
        self.world.random(buffer);
    }

    fn log(&self, _record: &LogRecord<'_>) {}

    fn http_call(&self, source: &CallSource, call: HttpCall, reply: HttpReply) -> Result<(), CallRefused> {
        self.world.http_call(source, call, reply)
    }

    fn grpc_call(
        &self,
        source: &CallSource,
        call: GrpcCall,
        events: GrpcEvents,
    ) -> Result<Box<dyn GrpcHandle>, CallRefused> {
        self.world.grpc_call(source, call, events)
    }

    fn foreign_function(&self, name: &str, arguments: &[u8]) -> Option<Result<Vec<u8>, ForeignError>> {
        if name == "program" {
            return Some(Ok(self.program.lock().unwrap().clone()));
        }
        self.world.foreign_function(name, arguments)
    }
}

/// One version's guest.
struct Version {
    calls: Vec<&'static HostCall>,
    plugin: Plugin,
}

/// The guests of all versions on one engine.
pub(crate) struct Calls {
    environment: Arc<Programmed>,
    engine: Engine,
    oracle: Arc<Oracle>,
    versions: Vec<Version>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        let environment = Arc::new(Programmed { world: World::default(), program: Mutex::new(vec![0; 4]) });
        let settings = EngineSettings { max_instances: 8, own_threads: false, ..EngineSettings::default() };
        let engine =
            Engine::new(settings, Arc::clone(&environment) as Arc<dyn Environment>).expect("an engine");
        let oracle = Arc::new(Oracle::new());
        let versions = ["0.1.0", "0.2.0", "0.2.1"].map(|version| {
            let calls: Vec<_> = HOST_CALLS.iter().filter(|call| call.versions.contains(&version)).collect();
            let mut config = PluginConfig::new(version, wasm(version, &calls));
            let large = usize::MAX / 2;
            config.upstreams = vec!["keys".to_owned()];
            config.configuration = b"configuration".to_vec();
            config.tracer = Some(Arc::clone(&oracle) as _);
            config.limits.callback_cpu = std::time::Duration::from_secs(60);
            config.limits.start_cpu = config.limits.callback_cpu;
            config.limits.log_bytes = large;
            config.limits.header_bytes = large;
            config.limits.property_bytes = large;
            config.limits.local_response_bytes = large;
            config.limits.body_bytes = large;
            let plugin = engine.load(config).expect("the guest loads");
            Version { calls, plugin }
        });
        Self { environment, engine, oracle, versions: versions.into() }
    }

    /// All callbacks of a stream and of its root context. What ends a guest here is a broken rule.
    fn life(&self, plugin: &Plugin) -> Result<(), StreamError> {
        let mut stream = plugin.open("tenant", share(&http()))?;
        for direction in [Direction::Request, Direction::Response] {
            let _paused = stream.on_headers(direction, false)?;
            let _paused = stream.on_body(direction, Bytes::from_static(b"a body"), false)?;
            self.events();
            let _paused = stream.on_trailers(direction)?;
        }
        stream.close()
    }

    fn events(&self) {
        let world = &self.environment.world;
        world.pass(std::time::Duration::from_secs(1));
        self.engine.run_due();
        let http_calls = std::mem::take(&mut *world.http_calls.lock().unwrap());
        for (_, _, reply) in http_calls {
            reply.send(Ok(HttpCallResponse { body: Bytes::from_static(b"answer"), ..Default::default() }));
        }
        let grpc_calls = std::mem::take(&mut *world.grpc_calls.lock().unwrap());
        for (_, _, events) in grpc_calls {
            events.initial_metadata(vec![(b"x-i".to_vec(), b"1".to_vec())]);
            events.message(Bytes::from_static(b"message"));
            events.trailing_metadata(Vec::new());
            events.close(7, "why".to_owned());
        }
        world.grpc_log.lock().unwrap().clear();
    }
}

impl Target for Calls {
    fn run(&mut self, input: &[u8]) {
        let (which, rest) = input.split_first().unwrap_or((&0, &[]));
        let version = &self.versions[usize::from(*which) % self.versions.len()];
        *self.environment.program.lock().unwrap() = program(&version.calls, rest);
        let traps = version.plugin.stats().traps;
        let ended = self.life(&version.plugin);
        self.oracle.verdict();
        if let Err(error) = ended {
            panic!("{error}");
        }
        assert_eq!(version.plugin.stats().traps, traps, "a trap in an event");
        // What a program left under way must not reach the next one's.
        *self.environment.program.lock().unwrap() = vec![0; 4];
        self.events();
        self.environment.world.http_calls.lock().unwrap().clear();
        self.environment.world.grpc_calls.lock().unwrap().clear();
        self.engine.run_due();
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        println!("calls: {} host calls checked", self.oracle.checked());
    }
}

/// Strings that arguments point at: header names and maps, paths, names of upstreams, queues and functions.
const WORDS: &[&[u8]] = &[
    b"",
    b"x-a",
    b":path",
    b"value",
    b"a\r\nb",
    b"request\0path",
    b"plugin_name",
    b"my\0property",
    b"keys",
    b"program",
    b"reverse",
    b"vm",
    b"a.B",
    b"\x02\0\0\0\x05\0\0\0\x01\0\0\0\x03\0\0\0\x01\0\0\0:path\0/\0x-a\0b\0",
    b"\x03\0\0\0\x07\0\0\0\x03\0\0\0\x05\0\0\0\x01\0\0\0\x0a\0\0\0\x04\0\0\0:method\0GET\0:path\0/\0:authority\0keys\0",
    b"\xff\xff\xff\xff",
    b"\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
];

/// Ends of a memory of one page and of 32 bits, and small numbers.
const NUMBERS: [u32; 16] =
    [0, 1, 2, 3, 4, 7, 8, 9, 200, 65_535, 65_536, 65_532, 0x7fff_ffff, 0x8000_0000, 0xffff_fffc, 0xffff_ffff];

/// Reads bytes as a program: the number of a call, then for each argument a byte that says what it is.
fn program(calls: &[&HostCall], input: &[u8]) -> Vec<u8> {
    let mut bytes = input.iter().copied();
    let mut records = Vec::new();
    let mut count = 0_u32;
    while let Some(number) = bytes.next() {
        if records.len() >= MAX_CALLS * usize::try_from(RECORD_BYTES).unwrap() {
            break;
        }
        let number = usize::from(number) % calls.len();
        let mut arguments = [0_u64; 12];
        let mut length = None;
        for place in arguments.iter_mut().take(calls[number].parameters.len()) {
            *place = u64::from(length.take().unwrap_or_else(|| argument(&mut bytes, &mut length)));
            if place.is_multiple_of(5) && calls[number].parameters.contains('I') {
                *place |= *place << 32;
            }
        }
        records.extend_from_slice(&u64::try_from(number).unwrap().to_le_bytes());
        arguments.iter().for_each(|argument| records.extend_from_slice(&argument.to_le_bytes()));
        count += 1;
    }
    [&count.to_le_bytes()[..], &[0; 4], &records].concat()
}

/// One argument; a pointer to a word leaves the word's length for the next.
fn argument(bytes: &mut impl Iterator<Item = u8>, length: &mut Option<u32>) -> u32 {
    let (kind, value) = (bytes.next().unwrap_or(0), bytes.next().unwrap_or(0));
    match kind % 8 {
        0..=2 => {
            let index = usize::from(value) % WORDS.len();
            let before: usize = WORDS[..index].iter().map(|word| word.len()).sum();
            *length = u32::try_from(WORDS[index].len()).ok();
            STRINGS + u32::try_from(before).unwrap()
        }
        3 => NUMBERS[usize::from(value) % NUMBERS.len()],
        4 => u32::from(value),
        5 => u32::from_le_bytes([value, bytes.next().unwrap_or(0), 0, 0]),
        6 => 65_536 - u32::from(value),
        _ => u32::from_le_bytes([value, bytes.next().unwrap_or(0), bytes.next().unwrap_or(0), kind]),
    }
}

/// The callbacks in which the program runs, with their results.
const CALLBACKS: &[(&str, usize, bool)] = &[
    ("proxy_on_context_create", 2, false),
    ("proxy_on_vm_start", 2, true),
    ("proxy_on_configure", 2, true),
    ("proxy_on_request_body", 3, true),
    ("proxy_on_request_trailers", 2, true),
    ("proxy_on_response_body", 3, true),
    ("proxy_on_response_trailers", 2, true),
    ("proxy_on_tick", 1, false),
    ("proxy_on_queue_ready", 2, false),
    ("proxy_on_http_call_response", 5, false),
    ("proxy_on_grpc_receive_initial_metadata", 3, false),
    ("proxy_on_grpc_receive", 3, false),
    ("proxy_on_grpc_receive_trailing_metadata", 3, false),
    ("proxy_on_grpc_close", 3, false),
    ("proxy_on_log", 1, false),
    ("proxy_on_done", 1, true),
    ("proxy_on_delete", 1, false),
];

/// A guest that fetches a program and runs it. It writes nothing into its memory meanwhile, so that what changes there
/// between two calls was the host. Its allocator gives the same place again and again.
fn wasm(version: &str, calls: &[&HostCall]) -> Vec<u8> {
    let mut text = String::from("(module ");
    for call in calls {
        text += &call.import();
    }
    let (fetch, say) = (calls.iter().any(|call| call.name == "proxy_call_foreign_function"), "proxy_log");
    assert!(fetch, "every version has foreign functions");
    let strings: String = WORDS.concat().iter().map(|byte| format!("\\{byte:02x}")).collect();
    let program_name = WORDS.iter().position(|word| *word == b"program").unwrap();
    let name_at: usize = WORDS[..program_name].iter().map(|word| word.len()).sum();
    write!(
        text,
        "(memory (export \"memory\") 1)
         (data $strings \"{strings}\")
         (func (export \"proxy_abi_version_{}\"))
         (func (export \"malloc\") (param i32) (result i32)
           (select (i32.const 0) (i32.const {HEAP}) (i32.gt_u (local.get 0) (i32.const {HEAP_BYTES}))))
         (func $run (local $at i32) (local $left i32)
           (memory.init $strings (i32.const {STRINGS}) (i32.const 0) (i32.const {}))
           (if (call $proxy_call_foreign_function (i32.const {}) (i32.const 7) (i32.const 0) (i32.const 0)
                 (i32.const 16) (i32.const 20)) (then unreachable))
           (memory.copy (i32.const {PROGRAM}) (i32.load (i32.const 16)) (i32.load (i32.const 20)))
           (local.set $left (i32.load (i32.const {PROGRAM})))
           (local.set $at (i32.const {}))
           (drop (call ${say} (i32.const 0) (i32.const 0) (i32.const 0)))
           (block $end (loop $next
             (br_if $end (i32.eqz (local.get $left)))
             (call $step (local.get $at))
             (local.set $at (i32.add (local.get $at) (i32.const {RECORD_BYTES})))
             (local.set $left (i32.sub (local.get $left) (i32.const 1)))
             (br $next))))
         (func $status (param i32) (if (i32.gt_u (local.get 0) (i32.const 12)) (then unreachable)))
         (func $errno (param i32) (if (i32.gt_u (local.get 0) (i32.const 76)) (then unreachable)))\n",
        version.replace('.', "_"),
        strings.len() / 3,
        usize::try_from(STRINGS).unwrap() + name_at,
        PROGRAM + 8,
    )
    .unwrap();
    step(&mut text, calls);
    let headers = if version == "0.1.0" { 2 } else { 3 };
    let headers = [("proxy_on_request_headers", headers, true), ("proxy_on_response_headers", headers, true)];
    for (name, parameters, result) in CALLBACKS.iter().chain(&headers) {
        let parameters = "i32 ".repeat(*parameters);
        // Messages pause, which keeps their maps open; the others want true.
        let result = if *result { "(result i32) (call $run) (i32.const 1)" } else { "(call $run)" };
        writeln!(text, "(func (export \"{name}\") (param {parameters}) {result})").unwrap();
    }
    text.push(')');
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// `$step`: makes the call of one record. A record that a call before has overwritten may name none.
fn step(text: &mut String, calls: &[&HostCall]) {
    writeln!(text, "(func $step (param $at i32)").unwrap();
    let count = calls.len();
    for number in (0..=count).rev() {
        writeln!(text, "(block $b{number}").unwrap();
    }
    let labels: String = (0..=count).map(|number| format!("$b{number} ")).collect();
    writeln!(text, "(br_table {labels} (i32.load (local.get $at))))").unwrap();
    for (number, call) in calls.iter().enumerate() {
        let arguments: String = call
            .parameters
            .char_indices()
            .map(|(index, kind)| {
                let kind = if kind == 'I' { "i64" } else { "i32" };
                format!("({kind}.load offset={} (local.get $at)) ", 8 + index * 8)
            })
            .collect();
        let answer = if call.module == "wasi" { "errno" } else { "status" };
        let close = if number < count { ")" } else { "" };
        writeln!(text, "(call ${answer} (call ${} {arguments})) (return){close}", call.name).unwrap();
    }
    writeln!(text, ")").unwrap();
}
