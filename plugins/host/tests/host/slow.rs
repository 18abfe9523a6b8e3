//! A plugin that takes too long for one tenant: whose thread it runs on, and who waits for it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use coditect_proxy_wasm::{
    Chain, Direction, Engine, EngineSettings, Environment, FailureMode, Item, Limits, Link, LinkObserver,
    LogRecord, Plugin, PluginConfig, Stop, StreamError,
};
use futures::FutureExt;
use futures::executor::block_on;

use crate::guest::Guest;
use crate::world::{http, share};

const HEADERS: Item = Item::Headers { end: true };
const CALM: &str = "calm";
const LOOPS: &str = "loops";

/// Notes the names of the threads that guests log on.
#[derive(Default)]
struct Threads {
    names: Mutex<Vec<(String, String)>>,
    realtime: AtomicU64,
    elapsed: AtomicU64,
}

impl Threads {
    /// Those of a tenant's guests, since this was last asked.
    fn of(&self, tenant: &str) -> HashSet<String> {
        let mut names = self.names.lock().unwrap();
        let (asked, others) = std::mem::take(&mut *names).into_iter().partition(|(whose, _)| whose == tenant);
        *names = others;
        let asked: Vec<(String, String)> = asked;
        asked.into_iter().map(|(_, name)| name).collect()
    }
}

impl Environment for Threads {
    fn realtime_nanoseconds(&self) -> u64 {
        self.realtime.load(Ordering::SeqCst)
    }

    fn monotonic_nanoseconds(&self) -> u64 {
        1 + self.elapsed.load(Ordering::SeqCst)
    }

    fn random(&self, _: &mut [u8]) {}

    fn log(&self, record: &LogRecord<'_>) {
        let name = thread::current().name().unwrap_or_default().to_owned();
        self.names.lock().unwrap().push((record.tenant.to_owned(), name));
    }
}

fn engine() -> (Engine, Arc<Threads>) {
    let world = Arc::new(Threads::default());
    let settings = EngineSettings { max_instances: 64, ..EngineSettings::default() };
    let engine = Engine::new(settings, Arc::clone(&world) as Arc<dyn Environment>).expect("an engine");
    (engine, world)
}

fn load(engine: &Engine, guest: Guest, change: impl FnOnce(&mut PluginConfig)) -> Plugin {
    let mut config = PluginConfig::new("slow", guest.wasm());
    config.quarantine_traps = 0;
    config.limits.log_lines_per_second = 1_000_000;
    change(&mut config);
    engine.load(config).expect("the plugin loads")
}

/// Says something in each callback, and loops for ever in the request's headers where the request says so.
fn guest() -> Guest {
    let mut guest = Guest::new();
    let path = guest.text("x-loop");
    guest
        .on("proxy_on_configure", "(call $report (i32.const 1)) (i32.const 1)")
        .on(
            "proxy_on_request_headers",
            &format!(
                "(call $report (i32.const 2))
                 (if (i32.eqz (call $proxy_get_header_map_value (i32.const 0) {path} (i32.const 64) (i32.const 68)))
                   (then (loop $again (br $again))))
                 (i32.const 0)"
            ),
        )
        .on("proxy_on_log", "(call $report (i32.const 3))")
}

/// A plugin whose start loops from the time 1 on, for half a second each time.
fn stuck(engine: &Engine, failure_mode: FailureMode) -> Plugin {
    let start = "(drop (call $proxy_get_current_time_nanoseconds (i32.const 64)))
        (if (i64.ne (i64.load (i32.const 64)) (i64.const 0)) (then (loop $again (br $again)))) (i32.const 1)";
    load(engine, Guest::new().on("proxy_on_configure", start), |config| {
        config.limits = Limits { start_cpu: Duration::from_millis(500), ..config.limits.clone() };
        config.failure_mode = failure_mode;
    })
}

fn chain(plugin: &Plugin, tenant: &str, loops: bool) -> Chain {
    chain_of(plugin, tenant, loops, None)
}

fn chain_of(plugin: &Plugin, tenant: &str, loops: bool, observer: Option<Arc<dyn LinkObserver>>) -> Chain {
    let http = http();
    if loops {
        http.lock().unwrap().request.push((b"x-loop".to_vec(), b"yes".to_vec()));
    }
    let link = Link { plugin: plugin.clone(), shadow: false, observer };
    Chain::new(share(&http), tenant, vec![link])
}

/// A whole request, waited for.
fn request(plugin: &Plugin, tenant: &str, loops: bool) -> Result<Vec<Item>, Stop> {
    let mut chain = chain(plugin, tenant, loops);
    let passed = block_on(chain.push(Direction::Request, HEADERS));
    chain.finish();
    passed
}

fn here() -> HashSet<String> {
    HashSet::from([thread::current().name().unwrap_or_default().to_owned()])
}

/// The piece, and what was held before it, goes on where the plugin fails open and had no turn.
#[test]
fn a_body_is_whole_though_its_plugin_had_no_turn() {
    const CROWD: usize = 100;
    let (engine, world) = engine();
    let holds = guest().on("proxy_on_request_body", "(i32.const 1)");
    let plugin = load(&engine, holds, |config| {
        config.failure_mode = FailureMode::Open;
        config.limits = Limits { callback_cpu: Duration::from_millis(100), ..config.limits.clone() };
    });
    let data = |text: &'static str, end| Item::Data { bytes: text.into(), end };
    assert_eq!(request(&plugin, LOOPS, true), Ok(vec![HEADERS]), "it fails open");
    let mut upload = chain(&plugin, LOOPS, false);
    assert_eq!(
        block_on(upload.push(Direction::Request, Item::Headers { end: false })),
        Ok(vec![Item::Headers { end: false }])
    );
    assert_eq!(block_on(upload.push(Direction::Request, data("held ", false))), Ok(Vec::new()));
    // A crowd of another plugin's requests takes all of the tenant's places.
    let loops = stuck(&engine, FailureMode::Closed);
    world.realtime.store(1, Ordering::SeqCst);
    assert_eq!(request(&loops, LOOPS, false), Err(Stop::Failed));
    let mut crowd: Vec<Chain> = (0..CROWD).map(|_| chain(&loops, LOOPS, false)).collect();
    let waiting: Vec<_> = crowd
        .iter_mut()
        .map(|chain| {
            let mut push = Box::pin(chain.push(Direction::Request, HEADERS));
            let _ = push.as_mut().now_or_never();
            push
        })
        .collect();
    let passed = block_on(upload.push(Direction::Request, data("piece", true)));
    let text: Vec<u8> = passed
        .unwrap()
        .into_iter()
        .flat_map(|item| match item {
            Item::Data { bytes, .. } => bytes.to_vec(),
            _ => Vec::new(),
        })
        .collect();
    assert_eq!(String::from_utf8_lossy(&text), "held piece");
    assert_eq!(plugin.stats().refused_busy, 1, "that is why");
    drop(waiting);
}

fn named(name: &str) -> HashSet<String> {
    HashSet::from([name.to_owned()])
}

#[test]
fn an_instance_starts_on_a_thread_for_that_and_serves_on_the_requests() {
    let (engine, world) = engine();
    let plugin = load(&engine, guest(), |_| {});
    world.of("(canary)");
    let mut chain = chain(&plugin, CALM, false);
    assert_eq!(block_on(chain.push(Direction::Request, HEADERS)), Ok(vec![HEADERS]));
    let seen = world.of(CALM);
    assert_eq!(seen, &named("wasm-start") | &here(), "started there, called here");
    chain.finish();
    assert_eq!(request(&plugin, CALM, false), Ok(vec![HEADERS]));
    assert_eq!(world.of(CALM), here(), "once it runs nothing is left to another thread");
}

#[test]
fn one_that_was_cut_off_runs_apart_for_that_tenant_until_it_behaved_for_a_while() {
    let (engine, world) = engine();
    let plugin = load(&engine, guest(), |_| {});
    assert_eq!(request(&plugin, CALM, false), Ok(vec![HEADERS]));
    assert_eq!(request(&plugin, LOOPS, true), Err(Stop::Failed));
    world.of(LOOPS);
    world.of(CALM);
    for _ in 0..3 {
        assert_eq!(request(&plugin, LOOPS, true), Err(Stop::Failed), "cut off there too");
        assert_eq!(request(&plugin, LOOPS, false), Ok(vec![HEADERS]), "and served there");
        assert_eq!(request(&plugin, CALM, false), Ok(vec![HEADERS]));
    }
    assert_eq!(world.of(LOOPS), named("wasm-slow"));
    assert_eq!(world.of(CALM), here(), "another tenant of the same plugin has nothing to do with it");

    // That thread does one thing after the other: nothing is left to it when this one had its turn.
    let mut last = chain(&plugin, LOOPS, false);
    assert_eq!(block_on(last.push(Direction::Request, HEADERS)), Ok(vec![HEADERS]));
    world.of(LOOPS);
    world.elapsed.fetch_add(u64::try_from(Duration::from_secs(60).as_nanos()).unwrap(), Ordering::SeqCst);
    last.finish();
    // What is left to that thread goes first, so it may take a request or two.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        world.of(LOOPS);
        assert_eq!(request(&plugin, LOOPS, false), Ok(vec![HEADERS]));
        if world.of(LOOPS) == here() {
            break;
        }
        assert!(Instant::now() < deadline, "it is never forgiven");
    }
}

/// Counts failures by kind.
#[derive(Default)]
struct Failures {
    busy: AtomicU64,
    others: AtomicU64,
}

impl LinkObserver for Failures {
    fn failed(&self, error: &StreamError) {
        let counter = if matches!(error, StreamError::Busy { .. }) { &self.busy } else { &self.others };
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_crowd_of_its_requests_is_turned_away_and_another_tenants_are_not() {
    const CROWD: usize = 100;
    let (engine, world) = engine();
    let plugin = load(&engine, guest(), |_| {});
    let patient = stuck(&engine, FailureMode::Open);
    world.realtime.store(1, Ordering::SeqCst);
    assert_eq!(request(&plugin, CALM, false), Ok(vec![HEADERS]));
    assert_eq!(request(&patient, LOOPS, false), Ok(vec![HEADERS]), "it fails open");
    let failures = Arc::new(Failures::default());
    let mut crowd: Vec<Chain> = (0..CROWD)
        .map(|_| chain_of(&patient, LOOPS, false, Some(Arc::clone(&failures) as Arc<dyn LinkObserver>)))
        .collect();
    let mut waiting: Vec<_> =
        crowd.iter_mut().map(|chain| Box::pin(chain.push(Direction::Request, HEADERS))).collect();
    let turned_away = waiting.iter_mut().filter_map(|push| push.as_mut().now_or_never()).count();
    assert!(turned_away >= CROWD - 40, "{turned_away} of {CROWD} were turned away at once");
    assert_eq!(failures.busy.load(Ordering::SeqCst), turned_away as u64);
    let mut calm = chain(&plugin, CALM, false);
    let passed = calm.push(Direction::Request, HEADERS).now_or_never();
    assert_eq!(passed, Some(Ok(vec![HEADERS])), "no other tenant's request waits");
    assert!(patient.stats().refused_busy >= turned_away as u64);
    drop(waiting);
    drop(crowd);
    assert_eq!(failures.others.load(Ordering::SeqCst), 0, "who waits no longer is told nothing");
}

#[test]
fn one_that_is_always_too_slow_is_found_though_no_wake_cuts_it_off() {
    const BUDGET: Duration = Duration::from_micros(200);
    let (engine, _) = engine();
    // Much longer than its budget and much shorter than two wakes are apart.
    let busy = "(local $n i32) (local.set $n (i32.const 1500000))
        (loop $again (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if $again (local.get $n)))
        (i32.const 0)";
    let plugin = load(&engine, Guest::new().on("proxy_on_request_headers", busy), |config| {
        config.limits = Limits { callback_cpu: BUDGET, ..config.limits.clone() };
    });
    let found = (0..10_000).find(|_| request(&plugin, LOOPS, false) == Err(Stop::Failed));
    assert!(found.is_some(), "it crossed its budget ten thousand times and nobody saw");
    assert_eq!(plugin.budgets_crossed(), [("cpu", 1)]);
}

#[test]
fn an_abandoned_request_of_a_slow_plugin_leaves_nothing() {
    let (engine, _) = engine();
    let plugin = load(&engine, guest(), |_| {});
    assert_eq!(request(&plugin, LOOPS, true), Err(Stop::Failed));
    for _ in 0..50 {
        let mut abandoned = chain(&plugin, LOOPS, false);
        // It is given up while it is on its way there, there, or back.
        let _ = abandoned.push(Direction::Request, HEADERS).now_or_never();
    }
    let last = block_on(chain(&plugin, LOOPS, false).push(Direction::Request, HEADERS));
    assert!(matches!(last, Ok(_) | Err(Stop::Failed)), "{last:?}");
    drop(plugin);
    let deadline = Instant::now() + Duration::from_secs(10);
    while engine.live_instances() > 0 {
        assert!(Instant::now() < deadline, "{} instances are left", engine.live_instances());
        thread::yield_now();
    }
}

#[test]
fn a_crowd_that_waits_for_a_first_instance_has_as_many_started_as_there_may_be() {
    const CROWD: usize = 200;
    let (engine, _) = engine();
    let plugin = load(&engine, guest(), |config| config.limits.instances_per_tenant = 2);
    let mut crowd: Vec<Chain> = (0..CROWD).map(|_| chain(&plugin, CALM, false)).collect();
    let pushes = crowd.iter_mut().map(|chain| chain.push(Direction::Request, HEADERS));
    let passed = block_on(futures::future::join_all(pushes));
    assert!(passed.iter().all(|passed| *passed == Ok(vec![HEADERS])), "{passed:?}");
    assert!(plugin.stats().instances_started <= 3, "the canary and two: {:?}", plugin.stats());
    crowd.into_iter().for_each(Chain::finish);
}

#[test]
fn a_crowd_that_waits_for_an_instance_that_never_starts_is_told_so() {
    const CROWD: usize = 50;
    let (engine, world) = engine();
    // It takes its configuration at the time 0, when the canary has it, and never again.
    let early = "(drop (call $proxy_get_current_time_nanoseconds (i32.const 64))) (i64.eqz (i64.load (i32.const 64)))";
    let plugin = load(&engine, Guest::new().on("proxy_on_configure", early), |_| {});
    world.realtime.store(1, Ordering::SeqCst);
    let mut crowd: Vec<Chain> = (0..CROWD).map(|_| chain(&plugin, CALM, false)).collect();
    let pushes = crowd.iter_mut().map(|chain| chain.push(Direction::Request, HEADERS));
    let passed = block_on(futures::future::join_all(pushes));
    assert!(passed.iter().all(|passed| *passed == Err(Stop::Failed)), "{passed:?}");
    let started = plugin.stats().instances_started;
    assert!(started <= 1 + CROWD as u64, "none had more than one start: {started}");
}

#[test]
fn a_shadow_that_is_slow_is_left_out_and_its_request_does_not_wait() {
    let (engine, world) = engine();
    let plugin = load(&engine, guest(), |_| {});
    assert_eq!(request(&plugin, LOOPS, true), Err(Stop::Failed));
    world.of(LOOPS);
    let link = Link { plugin, shadow: true, observer: None };
    let mut watched = Chain::new(share(&http()), LOOPS, vec![link]);
    assert_eq!(watched.push(Direction::Request, HEADERS).now_or_never(), Some(Ok(vec![HEADERS])));
    watched.finish();
    assert!(world.of(LOOPS).is_empty(), "nothing ran");
}
