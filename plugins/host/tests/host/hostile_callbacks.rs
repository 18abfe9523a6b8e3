//! Every attack on the host's time and memory in every callback: each is cut off where it is, costs its own instance,
//! and nobody else notices.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use coditect_proxy_wasm::{
    Direction, Engine, HttpCallResponse, Plugin, PluginConfig, StreamContext, StreamError, Trap, TrapCause,
};

use crate::guest::{Guest, OUT, wire};
use crate::world::{Http, World, engine, http, share};

const BUDGET: Duration = Duration::from_millis(3);
const MEMORY: usize = 1024 * 1024;

/// What runs in a callback, and how it ends.
struct Attack {
    name: &'static str,
    code: &'static str,
    is_end: fn(&TrapCause) -> bool,
}

const ATTACKS: [Attack; 6] = [
    Attack {
        name: "an endless loop",
        code: "(loop $again (br $again))",
        is_end: |cause| *cause == TrapCause::Cpu(BUDGET),
    },
    Attack {
        name: "an endless loop of host calls",
        code: "(loop $again (drop (call $proxy_get_current_time_nanoseconds (i32.const 64))) (br $again))",
        is_end: |cause| *cause == TrapCause::Cpu(BUDGET),
    },
    Attack {
        name: "a memory bomb",
        code: "(loop $again (drop (memory.grow (i32.const 1))) (br $again))",
        is_end: |cause| matches!(cause, TrapCause::Memory { limit: MEMORY, .. }),
    },
    Attack { name: "a recursion", code: "(call $deep)", is_end: |cause| *cause == TrapCause::Stack },
    Attack {
        name: "a panic",
        code: "unreachable",
        is_end: |cause| matches!(cause, TrapCause::Wasm(text) if text.contains("unreachable")),
    },
    Attack {
        name: "an endless loop in the allocator",
        code: "(global.set $allocator (i32.const 1)) (drop (call $proxy_get_property (i32.const 16) (i32.const 11) (i32.const 64) (i32.const 68)))",
        is_end: |cause| *cause == TrapCause::Cpu(BUDGET),
    },
];

/// Those of a stream, in the order of its life.
const OF_STREAMS: [&str; 9] = [
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
    "proxy_on_log",
    "proxy_on_done",
    "proxy_on_delete",
];

/// Those of a root context that come from outside a stream.
const EVENTS: [&str; 7] = [
    "proxy_on_tick",
    "proxy_on_queue_ready",
    "proxy_on_http_call_response",
    "proxy_on_grpc_receive_initial_metadata",
    "proxy_on_grpc_receive",
    "proxy_on_grpc_receive_trailing_metadata",
    "proxy_on_grpc_close",
];

/// A guest that attacks in `callback` once a request with `x-attack` was seen, which also starts all that leads to
/// events.
fn guest(callback: &str, attack: &Attack) -> Guest {
    let mut guest = Guest::new();
    let (header, keys, service) = (guest.text("x-attack"), guest.text("keys"), guest.text("a.B"));
    let call = guest.bytes(&wire(&[(":method", "GET"), (":path", "/"), (":authority", "keys")]));
    let nothing = guest.text("");
    let begin = format!(
        "(global.set $armed (i32.const 1))
         (drop (call $proxy_set_tick_period_milliseconds (i32.const 10)))
         (drop (call $proxy_register_shared_queue {keys} (i32.const 64)))
         (drop (call $proxy_enqueue_shared_queue (i32.load (i32.const 64)) {keys}))
         (drop (call $proxy_http_call {keys} {call} {nothing} {nothing} (i32.const 1000) (i32.const 64)))
         (drop (call $proxy_grpc_stream {keys} {service} {service} {nothing} (i32.const 64)))"
    );
    let arm = format!(
        "(if (i32.eqz (call $proxy_get_header_map_value (i32.const 0) {header} {OUT})) (then {begin}))"
    );
    let text = format!(
        "(global $armed (mut i32) (i32.const 0))
         (func $deep (call $deep) (call $deep))
         (func $attack (if (global.get $armed) (then {})))
         (data (i32.const 16) \"plugin_name\")",
        attack.code
    );
    let stream_only = |body: &str| format!("(if (i32.gt_u (local.get $p0) (i32.const 1)) (then {body}))");
    let guest = guest.with(&text);
    let guest = match callback {
        "proxy_on_request_headers" => {
            return guest.on(callback, &format!("{arm} (call $attack) (i32.const 0)"));
        }
        "proxy_on_done" => guest.on(callback, &(stream_only("(call $attack)") + "(i32.const 1)")),
        "proxy_on_delete" => guest.on(callback, &stream_only("(call $attack)")),
        "proxy_on_context_create" => guest.on(callback, "(if (local.get $p1) (then (call $attack)))"),
        _ if callback.contains("_request")
            || callback.contains("_response") && !callback.contains("call") =>
        {
            guest.on(callback, "(call $attack) (i32.const 0)")
        }
        _ => guest.on(callback, "(call $attack)"),
    };
    guest.on("proxy_on_request_headers", &format!("{arm} (i32.const 0)"))
}

struct Scene {
    engine: Engine,
    world: Arc<World>,
    plugin: Plugin,
}

impl Scene {
    fn new(callback: &str, attack: &Attack) -> Self {
        let (engine, world) = engine();
        let wasm = guest(callback, attack).wasm();
        let mut config = PluginConfig::new("test", wasm);
        config.upstreams = vec!["keys".to_owned()];
        config.limits.callback_cpu = BUDGET;
        config.limits.memory_bytes = MEMORY;
        config.limits.instances_per_tenant = 1;
        let plugin = engine.load(config).unwrap_or_else(|error| panic!("{callback}: {error}"));
        Self { engine, world, plugin }
    }

    /// A whole life of one stream, as far as it goes.
    fn life(&self, http: &Arc<Mutex<Http>>, tenant: &str) -> Result<(), StreamError> {
        let mut stream = self.plugin.open(tenant, share(http))?;
        for direction in [Direction::Request, Direction::Response] {
            let _ = stream.on_headers(direction, false)?;
            let _ = stream.on_body(direction, Bytes::from_static(b"body"), false)?;
            let _ = stream.on_trailers(direction)?;
        }
        self.events();
        stream.close()
    }

    fn events(&self) {
        self.world.pass(Duration::from_millis(10));
        self.engine.run_due();
        let http_calls = std::mem::take(&mut *self.world.http_calls.lock().unwrap());
        for (_, _, reply) in http_calls {
            reply.send(Ok(HttpCallResponse::default()));
        }
        let grpc_calls = std::mem::take(&mut *self.world.grpc_calls.lock().unwrap());
        for (_, _, events) in grpc_calls {
            events.initial_metadata(Vec::new());
            events.message(Bytes::from_static(b"message"));
            events.trailing_metadata(Vec::new());
            events.close(0, String::new());
        }
    }

    /// The attack, with another tenant's stream open before it; how the attacker's stream ended.
    fn attack(&self) -> StreamError {
        let mut bystander = self.plugin.open("bystander", share(&http())).unwrap();
        let _ = bystander.on_headers(Direction::Request, true).unwrap();
        let attacker = http();
        attacker.lock().unwrap().request.push((b"x-attack".to_vec(), b"1".to_vec()));
        let error = self.life(&attacker, "attacker").expect_err("it is cut off");
        let _ = bystander.on_headers(Direction::Response, true).expect("another tenant's stream goes on");
        bystander.close().expect("to its end");
        assert_eq!(self.plugin.stats().traps, 1);
        assert_eq!(self.engine.live_instances(), 1, "the attacker's is gone, the bystander's lives");
        for tenant in ["attacker", "newcomer"] {
            self.life(&http(), tenant).expect("served");
        }
        error
    }
}

fn cut(error: StreamError) -> Box<Trap> {
    match error {
        StreamError::Trap(trap) => trap,
        error => panic!("{error}"),
    }
}

#[test]
fn in_each_callback_of_a_stream() {
    for callback in OF_STREAMS {
        for attack in &ATTACKS {
            let trap = cut(Scene::new(callback, attack).attack());
            assert_eq!(trap.function, callback, "{}", attack.name);
            assert!((attack.is_end)(&trap.cause), "{} in {callback}: {}", attack.name, trap.cause);
            assert_eq!(trap.request_id.as_deref(), Some("req-1"), "{} in {callback}", attack.name);
        }
    }
}

#[test]
fn in_each_event_of_a_root_context() {
    for callback in EVENTS {
        for attack in &ATTACKS {
            // The event's own report goes to the log; what a stream sees is that its instance is gone.
            let error = Scene::new(callback, attack).attack();
            assert!(
                matches!(error, StreamError::InstanceLost { .. }),
                "{} in {callback}: {error}",
                attack.name
            );
        }
    }
}

#[test]
fn in_the_creation_of_a_stream() {
    for attack in &ATTACKS {
        let scene = Scene::new("proxy_on_context_create", attack);
        let arming = http();
        arming.lock().unwrap().request.push((b"x-attack".to_vec(), b"1".to_vec()));
        let open = |http: &Arc<Mutex<Http>>| -> Result<StreamContext, StreamError> {
            scene.plugin.open("attacker", share(http))
        };
        let mut before = open(&arming).unwrap();
        let _ = before.on_headers(Direction::Request, true).unwrap();
        let trap = cut(open(&http()).err().expect("it is cut off"));
        assert_eq!(trap.function, "proxy_on_context_create");
        assert!((attack.is_end)(&trap.cause), "{}: {}", attack.name, trap.cause);
        assert!(matches!(before.close(), Err(StreamError::InstanceLost { .. })));
        scene.life(&http(), "attacker").expect("served");
    }
}

/// An instance that attacks when it is evicted to make room is gone all the same.
#[test]
fn in_the_end_of_an_evicted_root_context() {
    for callback in ["proxy_on_done", "proxy_on_delete"] {
        let result = if callback == "proxy_on_done" { "(i32.const 1)" } else { "" };
        let guest = Guest::new()
            .with("(global $armed (mut i32) (i32.const 0))")
            .on("proxy_on_request_headers", "(global.set $armed (i32.const 1)) (i32.const 0)")
            .on(
                callback,
                &format!(
                    "(if (i32.and (global.get $armed) (i32.eq (local.get $p0) (i32.const 1)))
                       (then (loop $again (br $again)))) {result}"
                ),
            );
        let settings = coditect_proxy_wasm::EngineSettings { max_instances: 1, ..Default::default() };
        let (engine, _) = crate::world::engine_with(settings);
        let plugin = engine.load(PluginConfig::new("test", guest.wasm())).unwrap();
        for tenant in ["a", "b", "c"] {
            crate::world::exchange_of(&plugin, tenant, &http());
        }
        assert_eq!(engine.live_instances(), 1);
        let stats = plugin.stats();
        assert_eq!((stats.traps, stats.instances_evicted), (2, 2), "{callback}");
        drop(plugin);
        assert_eq!(engine.live_instances(), 0);
    }
}
