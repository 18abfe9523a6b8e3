//! Many threads on the same instances at once: streams, ticks, notifications, answers, traps, evictions, swaps. Whatever
//! the order, every call returns, and what was counted comes out even.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use coditect_proxy_wasm::{
    CallFailure, Direction, Engine, EngineSettings, HttpCallResponse, Plugin, PluginConfig, StreamError,
};

use crate::guest::{Guest, OUT, wire};
use crate::world::{World, engine_with, http, share};

/// How long all of it may take before the threads are held to wait for each other for ever.
const WATCHDOG: Duration = Duration::from_secs(120);
const WORKERS: usize = 4;
const REQUESTS: usize = 400;

/// Does a bit of everything with every request; traps when told; wants time to finish when it ends, in which it goes on
/// planning things.
fn busy() -> Guest {
    let mut guest = Guest::new();
    let (keys, service, nothing, trap) =
        (guest.text("keys"), guest.text("a.B"), guest.text(""), guest.text("x-trap"));
    let call = guest.bytes(&wire(&[(":method", "GET"), (":path", "/"), (":authority", "keys")]));
    let work = format!(
        "(func $work
           (drop (call $proxy_set_tick_period_milliseconds (i32.const 10)))
           (drop (call $proxy_register_shared_queue {keys} (i32.const 80)))
           (drop (call $proxy_enqueue_shared_queue (i32.load (i32.const 80)) {keys}))
           (drop (call $proxy_set_shared_data {keys} {keys} (i32.const 0)))
           (drop (call $proxy_http_call {keys} {call} {nothing} {nothing} (i32.const 1) (i32.const 84)))
           (drop (call $proxy_grpc_call {keys} {service} {service} {nothing} {nothing} (i32.const 1) (i32.const 88))))"
    );
    let queue = format!("(drop (call $proxy_dequeue_shared_queue (local.get $p1) {OUT}))");
    guest
        .with(&work)
        .with("(global $ending (mut i32) (i32.const 0))")
        .on(
            "proxy_on_request_headers",
            &format!(
                "(call $work)
                 (if (i32.eqz (call $proxy_get_header_map_value (i32.const 0) {trap} {OUT})) (then unreachable))
                 (i32.const 0)"
            ),
        )
        .on("proxy_on_response_body", "(i32.eqz (local.get $p2))")
        .on("proxy_on_tick", "(call $work) (if (global.get $ending) (then (drop (call $proxy_done))))")
        .on("proxy_on_queue_ready", &queue)
        .on("proxy_on_http_call_response", "(call $work)")
        .on("proxy_on_grpc_receive", "(call $work)")
        .on(
            "proxy_on_done",
            "(if (i32.eq (local.get $p0) (i32.const 1)) (then (global.set $ending (i32.const 1))))
             (i32.ne (local.get $p0) (i32.const 1))",
        )
}

fn load(engine: &Engine) -> Plugin {
    let mut config = PluginConfig::new("busy", busy().wasm());
    config.upstreams = vec!["keys".to_owned()];
    config.limits.instances_per_tenant = 2;
    // The machine's other work must not decide this test.
    config.limits.callback_cpu = Duration::from_secs(10);
    engine.load(config).expect("it loads")
}

fn request(plugin: &Plugin, tenant: &str, traps: bool) -> Result<(), StreamError> {
    let http = http();
    if traps {
        http.lock().unwrap().request.push((b"x-trap".to_vec(), Vec::new()));
    }
    let mut stream = plugin.open(tenant, share(&http))?;
    let _ = stream.on_headers(Direction::Request, true)?;
    let _ = stream.on_headers(Direction::Response, false)?;
    for end in [false, false, true] {
        let _ = stream.on_body(Direction::Response, Bytes::from_static(b"piece"), end)?;
    }
    if traps { Ok(()) } else { stream.close() }
}

/// Answers, fails or forgets what guests asked for, until told to stop.
fn answer(world: &World, stop: &AtomicBool) {
    let mut number = 0_usize;
    while !stop.load(Ordering::Acquire) {
        let http_call = world.http_calls.lock().unwrap().pop();
        let grpc_call = world.grpc_calls.lock().unwrap().pop();
        number += 1;
        if let Some((_, _, reply)) = http_call {
            match number % 3 {
                0 => reply.send(Ok(HttpCallResponse::default())),
                1 => reply.send(Err(CallFailure::Timeout)),
                _ => drop(reply),
            }
        }
        if let Some((_, _, events)) = grpc_call {
            events.initial_metadata(Vec::new());
            events.message(Bytes::from_static(b"message"));
            if number.is_multiple_of(2) {
                events.close(0, String::new());
            }
        }
        thread::yield_now();
    }
}

fn drive(engine: &Engine, world: &World, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        world.pass(Duration::from_millis(10));
        engine.run_due();
        world.clear();
    }
}

fn work(engine: &Engine, worker: usize, plugins: &std::sync::Mutex<Vec<Plugin>>) {
    for number in 0..REQUESTS {
        let plugin = plugins.lock().unwrap()[number % 2].clone();
        let tenant = ["one", "two", "three"][(worker + number) % 3];
        match request(&plugin, tenant, number % 29 == 0) {
            // Another thread's trap took the instance, or all of them are in use or lingering: both are told.
            Ok(())
            | Err(StreamError::Trap(_) | StreamError::InstanceLost { .. } | StreamError::Exhausted { .. }) => {
            }
            Err(error) => panic!("{error}"),
        }
        if number % 50 == worker * 7 {
            let new = load_when_there_is_room(engine);
            let old = new.map(|new| std::mem::replace(&mut plugins.lock().unwrap()[number % 2], new));
            drop(old);
        }
    }
}

/// A canary needs a place too.
fn load_when_there_is_room(engine: &Engine) -> Option<Plugin> {
    let mut config = PluginConfig::new("busy", busy().wasm());
    config.upstreams = vec!["keys".to_owned()];
    config.limits.instances_per_tenant = 2;
    config.limits.callback_cpu = Duration::from_secs(10);
    engine.load(config).ok()
}

fn everything() {
    let settings = EngineSettings { max_instances: 6, ..EngineSettings::default() };
    let (engine, world) = engine_with(settings);
    let plugins = std::sync::Mutex::new(vec![load(&engine), load(&engine)]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (engine, plugins) = (&engine, &plugins);
                scope.spawn(move || work(engine, worker, plugins))
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| answer(&world, &stop));
        }
        scope.spawn(|| drive(&engine, &world, &stop));
        let ended: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Release);
        assert!(ended.iter().all(Result::is_ok), "a worker panicked");
    });
    drop(plugins);
    // Those that wanted time to finish have had it.
    world.pass(Duration::from_secs(60));
    while engine.run_due().is_some_and(|next| next.is_zero()) {}
    engine.run_due();
    assert_eq!((engine.live_instances(), engine.live_modules()), (0, 0));
    let left = world.http_calls.lock().unwrap();
    assert!(left.iter().all(|(_, _, reply)| !reply.is_wanted()), "nobody waits");
}

#[test]
fn streams_events_answers_and_swaps_at_once_never_wait_for_each_other_for_ever() {
    let (done, ended) = mpsc::channel();
    let scene = thread::spawn(move || {
        everything();
        let _ = done.send(());
    });
    match ended.recv_timeout(WATCHDOG) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("threads wait for each other"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => scene.join().unwrap(),
    }
}

/// The driver looks after an instance that wants time to finish while that instance's callback plans something: each
/// wants what the other has.
#[test]
fn the_driver_and_a_finishing_instance_do_not_wait_for_each_other() {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let (engine, world) = engine_with(EngineSettings { max_instances: 2, ..Default::default() });
        for _ in 0..200 {
            let plugin = load(&engine);
            request(&plugin, "one", false).unwrap();
            let calls = std::mem::take(&mut *world.http_calls.lock().unwrap());
            drop(plugin);
            thread::scope(|scope| {
                scope.spawn(|| {
                    calls.into_iter().for_each(|(_, _, reply)| reply.send(Err(CallFailure::Reset)))
                });
                for _ in 0..50 {
                    engine.run_due();
                }
            });
            world.pass(Duration::from_secs(60));
            while engine.run_due().is_some() {}
            world.grpc_calls.lock().unwrap().clear();
            world.http_calls.lock().unwrap().clear();
            while engine.run_due().is_some() {}
            assert_eq!(engine.live_instances(), 0);
        }
        let _ = done.send(());
    });
    ended.recv_timeout(WATCHDOG).expect("they do not wait for each other");
}
