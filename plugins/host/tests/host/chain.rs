//! Several plugins on one request: what goes through them, what is held, what is released, what stops it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use coditect_proxy_wasm::{
    Chain, Direction, Engine, FailureMode, Item, Link, LinkObserver, LocalResponse, PluginConfig,
    ShadowVerdict, Stop,
};
use futures::FutureExt;

use crate::guest::{Guest, wire};
use crate::world::{Http, World, engine, http, share};

const REQUEST: Direction = Direction::Request;
const RESPONSE: Direction = Direction::Response;

fn data(text: &'static str, end: bool) -> Item {
    Item::Data { bytes: Bytes::from_static(text.as_bytes()), end }
}

/// Remembers what it is told.
#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl LinkObserver for Seen {
    fn responded(&self, response: &LocalResponse) {
        self.0.lock().unwrap().push(format!("responded {}", response.status));
    }

    fn failed(&self, error: &coditect_proxy_wasm::StreamError) {
        self.0.lock().unwrap().push(format!("failed {error}"));
    }

    fn shadowed(&self, verdict: &ShadowVerdict) {
        let verdict = match verdict {
            ShadowVerdict::Respond(response) => format!("would respond {}", response.status),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(verdict);
    }
}

struct Scene {
    engine: Engine,
    world: Arc<World>,
    links: Vec<Link>,
    seen: Arc<Seen>,
    http: Arc<Mutex<Http>>,
}

impl Scene {
    fn new() -> Self {
        let (engine, world) = engine();
        Self { engine, world, links: Vec::new(), seen: Arc::default(), http: http() }
    }

    fn with(self, guest: Guest) -> Self {
        self.link(guest, |_| {}, false)
    }

    fn link(mut self, guest: Guest, configure: impl FnOnce(&mut PluginConfig), shadow: bool) -> Self {
        let mut config = PluginConfig::new(format!("plugin {}", self.links.len()), guest.wasm());
        configure(&mut config);
        let plugin = self.engine.load(config).expect("the plugin loads");
        self.world.clear();
        let observer = Some(Arc::clone(&self.seen) as Arc<dyn LinkObserver>);
        self.links.push(Link { plugin, shadow, observer });
        self
    }

    fn chain(&mut self) -> Chain {
        Chain::new(share(&self.http), "tenant", std::mem::take(&mut self.links))
    }

    fn header(&self, name: &str) -> Vec<String> {
        self.http.lock().unwrap().request_values(name)
    }
}

/// A push that need not wait.
fn push(chain: &mut Chain, direction: Direction, item: Item) -> Result<Vec<Item>, Stop> {
    chain.push(direction, item).now_or_never().expect("nothing to wait for")
}

/// A guest that pauses in a callback, and in every tick makes the host act on stream 2.
fn held(callback: &str, then: &str) -> Guest {
    Guest::new()
        .on(
            "proxy_on_configure",
            "(drop (call $proxy_set_tick_period_milliseconds (i32.const 10))) (i32.const 1)",
        )
        .on(callback, "(i32.const 1)")
        .on("proxy_on_tick", &format!("(drop (call $proxy_set_effective_context (i32.const 2))) {then}"))
}

const RESUME_REQUEST: &str = "(drop (call $proxy_continue_stream (i32.const 0)))";

fn tick(scene: &Scene) {
    scene.world.pass(Duration::from_millis(10));
    scene.engine.run_due();
}

/// A guest that answers every piece of a body with itself around it.
fn around(callback: &str, mark: &str) -> Guest {
    let mut guest = Guest::new();
    let mark = guest.text(mark);
    let buffer = i32::from(callback.contains("response"));
    let set = |start: &str| {
        format!(
            "(drop (call $proxy_set_buffer_bytes (i32.const {buffer}) (i32.const {start}) (i32.const 0) {mark}))"
        )
    };
    guest.on(callback, &format!("{} {} (i32.const 0)", set("0"), set("99999")))
}

#[test]
fn a_request_passes_first_to_last_and_a_response_last_to_first() {
    let say = |mark: &str| {
        let mut guest = Guest::new();
        let (mark, next) = (guest.text(&format!("{mark} request")), guest.text(&format!("{mark} response")));
        guest
            .on("proxy_on_request_headers", &format!("(call $say {mark}) (i32.const 0)"))
            .on("proxy_on_response_headers", &format!("(call $say {next}) (i32.const 0)"))
    };
    let mut scene = Scene::new().with(say("one")).with(say("two"));
    let mut chain = scene.chain();
    assert!(!chain.wants_body(REQUEST));
    let headers = Item::Headers { end: true };
    assert_eq!(push(&mut chain, REQUEST, headers.clone()), Ok(vec![headers.clone()]));
    assert_eq!(push(&mut chain, RESPONSE, headers.clone()), Ok(vec![headers]));
    chain.finish();
    assert_eq!(scene.world.texts(), ["one request", "two request", "two response", "one response"]);
}

#[test]
fn each_plugin_sees_what_the_one_before_made_of_the_body() {
    let mut scene =
        Scene::new().with(around("proxy_on_request_body", "a")).with(around("proxy_on_request_body", "b"));
    let mut chain = scene.chain();
    assert!(chain.wants_body(REQUEST) && !chain.wants_body(RESPONSE));
    push(&mut chain, REQUEST, Item::Headers { end: false }).unwrap();
    assert_eq!(push(&mut chain, REQUEST, data("-", false)), Ok(vec![data("ba-ab", false)]));
    assert_eq!(push(&mut chain, REQUEST, data("", true)), Ok(vec![data("baab", true)]));
    chain.finish();
}

#[test]
fn a_paused_body_is_kept_and_comes_out_whole() {
    // Pauses until the end.
    let pause = "(i32.eqz (local.get $p2))";
    let mut scene = Scene::new()
        .with(Guest::new().on("proxy_on_response_body", &format!("(call $report (local.get $p1)) {pause}")))
        .with(around("proxy_on_response_body", "."));
    let mut chain = scene.chain();
    push(&mut chain, REQUEST, Item::Headers { end: true }).unwrap();
    push(&mut chain, RESPONSE, Item::Headers { end: false }).unwrap();
    assert_eq!(push(&mut chain, RESPONSE, data("ab", false)), Ok(vec![]));
    assert!(chain.holds(RESPONSE) && !chain.holds(REQUEST));
    assert_eq!(push(&mut chain, RESPONSE, data("c", false)), Ok(vec![]));
    assert_eq!(push(&mut chain, RESPONSE, data("", true)), Ok(vec![data(".ab..c...", true)]));
    assert!(!chain.holds(RESPONSE));
    chain.finish();
    assert_eq!(scene.world.reports(), [4, 7, 9], "each time all that is held");
}

#[test]
fn held_headers_go_on_when_the_guest_resumes_the_stream() {
    let set = {
        let mut guest = held("proxy_on_request_headers", "");
        let (name, value) = (guest.text("x-late"), guest.text("yes"));
        (guest, format!("(call $report (call $proxy_add_header_map_value (i32.const 0) {name} {value}))"))
    };
    let (guest, add) = set;
    let guest = guest.with(&format!("(func $late {add} {RESUME_REQUEST} {add})"));
    let text = "(call $late)";
    let mut scene = Scene::new().with(replace_tick(guest, text)).with(around("proxy_on_request_body", "."));
    let mut chain = scene.chain();
    {
        let mut waiting = Box::pin(chain.push(REQUEST, Item::Headers { end: false }));
        assert!(waiting.as_mut().now_or_never().is_none(), "held");
        tick(&scene);
        assert_eq!(waiting.now_or_never(), Some(Ok(vec![Item::Headers { end: false }])));
    }
    assert_eq!(scene.header("x-late"), ["yes"], "written while it was held");
    assert_eq!(scene.world.reports(), [0, 2], "and not after it was resumed");
    assert_eq!(push(&mut chain, REQUEST, data("x", true)), Ok(vec![data(".x.", true)]));
    chain.finish();
}

/// The same guest with another tick.
fn replace_tick(guest: Guest, body: &str) -> Guest {
    guest.again("proxy_on_tick", &format!("(drop (call $proxy_set_effective_context (i32.const 2))) {body}"))
}

#[test]
fn a_body_held_at_its_end_waits_for_the_guest() {
    let mut scene = Scene::new().with(held("proxy_on_request_body", RESUME_REQUEST));
    let mut chain = scene.chain();
    push(&mut chain, REQUEST, Item::Headers { end: false }).unwrap();
    assert_eq!(push(&mut chain, REQUEST, data("a", false)), Ok(vec![]));
    {
        let mut waiting = Box::pin(chain.push(REQUEST, data("b", true)));
        assert!(waiting.as_mut().now_or_never().is_none(), "held");
        tick(&scene);
        assert_eq!(waiting.now_or_never(), Some(Ok(vec![data("ab", true)])));
    }
    chain.finish();
}

#[test]
fn a_body_held_in_its_middle_comes_out_before_the_rest() {
    let mut scene = Scene::new().with(held("proxy_on_request_body", RESUME_REQUEST));
    let mut chain = scene.chain();
    push(&mut chain, REQUEST, Item::Headers { end: false }).unwrap();
    assert_eq!(push(&mut chain, REQUEST, data("a", false)), Ok(vec![]));
    assert!(Box::pin(chain.released(REQUEST)).now_or_never().is_none());
    tick(&scene);
    assert_eq!(chain.released(REQUEST).now_or_never(), Some(Ok(vec![data("a", false)])));
    assert!(!chain.holds(REQUEST));
    chain.finish();
}

#[test]
fn trailers_held_bring_the_held_body_with_them() {
    let guest =
        held("proxy_on_request_body", RESUME_REQUEST).on("proxy_on_request_trailers", "(i32.const 1)");
    let mut scene = Scene::new().with(guest);
    let mut chain = scene.chain();
    push(&mut chain, REQUEST, Item::Headers { end: false }).unwrap();
    assert_eq!(push(&mut chain, REQUEST, data("a", false)), Ok(vec![]));
    {
        let mut waiting = Box::pin(chain.push(REQUEST, Item::Trailers));
        assert!(waiting.as_mut().now_or_never().is_none(), "held");
        tick(&scene);
        assert_eq!(waiting.now_or_never(), Some(Ok(vec![data("a", false), Item::Trailers])));
    }
    chain.finish();
}

#[test]
fn headers_alone_can_be_held_while_the_body_comes() {
    // Holds the headers; answers the body's end with go on.
    let guest = Guest::new()
        .on("proxy_on_response_headers", "(i32.const 1)")
        .on("proxy_on_response_body", "(i32.eqz (local.get $p2))");
    let mut scene = Scene::new().link(guest, |config| config.stop_iteration = true, false);
    let mut chain = scene.chain();
    push(&mut chain, REQUEST, Item::Headers { end: true }).unwrap();
    assert_eq!(push(&mut chain, RESPONSE, Item::Headers { end: false }), Ok(vec![]));
    assert_eq!(push(&mut chain, RESPONSE, data("a", false)), Ok(vec![]));
    let all = vec![Item::Headers { end: false }, data("ab", true)];
    assert_eq!(push(&mut chain, RESPONSE, data("b", true)), Ok(all));
    chain.finish();
}

fn respond(guest: &mut Guest, status: u32) -> String {
    let headers = guest.bytes(&wire(&[]));
    let body = guest.text("no");
    format!(
        "(drop (call $proxy_send_local_response (i32.const {status}) (i32.const 0) (i32.const 0) {body} {headers}
           (i32.const -1)))"
    )
}

#[test]
fn a_local_response_ends_the_request_and_passes_those_it_has_met() {
    let mut first = Guest::new();
    let mark = first.text("first");
    let first = first.on("proxy_on_response_headers", &format!("(call $say {mark}) (i32.const 0)"));
    let mut second = Guest::new();
    let (send, mark) = (respond(&mut second, 403), second.text("second"));
    let second = second
        .on("proxy_on_request_headers", &format!("{send} (i32.const 1)"))
        .on("proxy_on_response_headers", &format!("(call $say {mark}) (i32.const 0)"));
    let mut third = Guest::new();
    let logged = third.text("third, in its log");
    let third = third
        .on("proxy_on_request_headers", "unreachable")
        .on("proxy_on_response_headers", "unreachable")
        .on("proxy_on_log", &format!("(call $say {logged})"));
    let mut scene = Scene::new().with(first).with(second).with(third);
    let mut chain = scene.chain();
    let stop = push(&mut chain, REQUEST, Item::Headers { end: true }).unwrap_err();
    assert!(matches!(&stop, Stop::Respond(response) if response.status == 403), "{stop:?}");
    push(&mut chain, RESPONSE, Item::Headers { end: false }).unwrap();
    chain.finish();
    assert_eq!(scene.world.texts(), ["second", "first", "third, in its log"]);
    assert_eq!(*scene.seen.0.lock().unwrap(), ["responded 403"]);
}

#[test]
fn a_held_request_can_be_answered_or_closed_from_elsewhere() {
    let mut guest = held("proxy_on_request_headers", "");
    let send = respond(&mut guest, 429);
    for (act, expected) in [(send, 429), ("(drop (call $proxy_close_stream (i32.const 0)))".to_owned(), 0)] {
        let guest = replace_tick(guest.clone(), &act);
        let mut scene = Scene::new().with(guest);
        let mut chain = scene.chain();
        let mut waiting = Box::pin(chain.push(REQUEST, Item::Headers { end: true }));
        assert!(waiting.as_mut().now_or_never().is_none(), "held");
        tick(&scene);
        match waiting.now_or_never().expect("no longer") {
            Err(Stop::Respond(response)) => assert_eq!(response.status, expected),
            Err(Stop::Closed) => assert_eq!(expected, 0),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_plugin_that_fails_ends_the_request_or_is_left_out() {
    let failing = || Guest::new().on("proxy_on_request_body", "unreachable");
    let mut scene = Scene::new().with(failing());
    let mut chain = scene.chain();
    push(&mut chain, REQUEST, Item::Headers { end: false }).unwrap();
    assert_eq!(push(&mut chain, REQUEST, data("a", true)), Err(Stop::Failed));
    push(&mut chain, RESPONSE, Item::Headers { end: false }).expect("the refusal passes");
    chain.finish();

    let mut scene = Scene::new()
        .link(failing(), |config| config.failure_mode = FailureMode::Open, false)
        .with(around("proxy_on_request_body", "."));
    let mut chain = scene.chain();
    push(&mut chain, REQUEST, Item::Headers { end: false }).unwrap();
    assert_eq!(push(&mut chain, REQUEST, data("a", false)), Ok(vec![data(".a.", false)]));
    assert_eq!(push(&mut chain, REQUEST, data("b", true)), Ok(vec![data(".b.", true)]));
    chain.finish();
    assert_eq!(scene.seen.0.lock().unwrap().len(), 1, "told once");
}

#[test]
fn a_held_stream_whose_instance_traps_elsewhere_is_not_forgotten() {
    for (mode, expected) in
        [(FailureMode::Closed, Err(Stop::Failed)), (FailureMode::Open, Ok(vec![data("ab", true)]))]
    {
        let guest = held("proxy_on_request_body", "unreachable");
        let mut scene = Scene::new().link(guest, |config| config.failure_mode = mode, false);
        let mut chain = scene.chain();
        push(&mut chain, REQUEST, Item::Headers { end: false }).unwrap();
        assert_eq!(push(&mut chain, REQUEST, data("a", false)), Ok(vec![]));
        let mut waiting = Box::pin(chain.push(REQUEST, data("b", true)));
        assert!(waiting.as_mut().now_or_never().is_none(), "held");
        tick(&scene);
        assert_eq!(waiting.now_or_never(), Some(expected));
    }
}

#[test]
fn more_than_may_be_held_is_refused() {
    let guest = Guest::new().on("proxy_on_request_body", "(i32.const 1)");
    let mut scene = Scene::new().link(guest, |config| config.limits.body_bytes = 3, false);
    let mut chain = scene.chain();
    push(&mut chain, REQUEST, Item::Headers { end: false }).unwrap();
    assert_eq!(push(&mut chain, REQUEST, data("abc", false)), Ok(vec![]));
    assert_eq!(push(&mut chain, REQUEST, data("d", false)), Err(Stop::TooLarge));
}

#[test]
fn a_shadow_changes_nothing_and_its_verdict_is_told() {
    let mut guest = Guest::new();
    let (name, value) = (guest.text("x-shadow"), guest.text("1"));
    let add = format!("(call $report (call $proxy_add_header_map_value (i32.const 0) {name} {value}))");
    let send = respond(&mut guest, 403);
    let refusing = guest.on("proxy_on_request_headers", &format!("{add} {send} (i32.const 1)"));
    let holding = Guest::new().on("proxy_on_request_headers", "(i32.const 1)");
    let changing = around("proxy_on_request_body", "!");
    let failing = Guest::new().on("proxy_on_response_headers", "unreachable");
    let mut scene = Scene::new()
        .link(refusing, |_| {}, true)
        .link(holding, |_| {}, true)
        .link(changing, |_| {}, true)
        .link(failing, |_| {}, true);
    let mut chain = scene.chain();
    let headers = Item::Headers { end: false };
    assert_eq!(push(&mut chain, REQUEST, headers.clone()), Ok(vec![headers.clone()]));
    assert_eq!(push(&mut chain, REQUEST, data("a", true)), Ok(vec![data("a", true)]));
    assert_eq!(push(&mut chain, RESPONSE, headers.clone()), Ok(vec![headers]));
    chain.finish();
    assert_eq!(scene.header("x-shadow"), Vec::<String>::new());
    assert_eq!(scene.world.reports(), [0], "the guest believes that it wrote");
    let seen = scene.seen.0.lock().unwrap();
    let verdicts: Vec<_> = seen.iter().filter(|line| !line.starts_with("failed")).collect();
    assert_eq!(verdicts, ["would respond 403", "Hold", "Pass", "Fail"]);
}

#[test]
fn a_root_context_may_take_its_time_to_be_done() {
    let mut guest = Guest::new();
    let deleted = guest.text("deleted");
    // The root context, and streams, of which nobody asks.
    let guest = guest
        .on(
            "proxy_on_configure",
            "(drop (call $proxy_set_tick_period_milliseconds (i32.const 10))) (i32.const 1)",
        )
        .on("proxy_on_done", "(i32.ne (local.get $p0) (i32.const 1))")
        .on("proxy_on_tick", "(call $report (call $proxy_done))")
        .on("proxy_on_delete", &format!("(call $say {deleted})"));
    let mut scene = Scene::new().with(guest);
    let mut chain = scene.chain();
    push(&mut chain, REQUEST, Item::Headers { end: true }).unwrap();
    assert_eq!(scene.engine.live_instances(), 1);
    chain.finish();
    assert_eq!(scene.world.texts(), ["deleted"], "the stream");
    assert_eq!(scene.engine.live_instances(), 1, "the root context is not done");
    tick(&scene);
    assert_eq!(scene.world.log.lock().unwrap().len(), 2, "proxy_done, and the root's own end");
    scene.engine.run_due();
    assert_eq!(scene.engine.live_instances(), 0);
}

#[test]
fn a_root_context_that_is_never_done_is_ended() {
    let guest = Guest::new().on("proxy_on_done", "(i32.ne (local.get $p0) (i32.const 1))");
    let mut scene = Scene::new().with(guest);
    let mut chain = scene.chain();
    push(&mut chain, REQUEST, Item::Headers { end: true }).unwrap();
    chain.finish();
    assert_eq!(scene.engine.live_instances(), 1);
    scene.world.pass(Duration::from_secs(5));
    scene.engine.run_due();
    assert_eq!(scene.engine.live_instances(), 0);
}

#[test]
fn the_driver_is_woken_for_what_it_did_not_know() {
    let scene = Scene::new().with(held("proxy_on_request_headers", RESUME_REQUEST));
    assert_eq!(scene.engine.run_due(), None, "the canary's ticks are nobody's");
    let mut woken = Box::pin(scene.engine.woken());
    assert!(woken.as_mut().now_or_never().is_none());
    scene.links[0].plugin.warm("tenant").unwrap();
    assert_eq!(woken.now_or_never(), Some(()));
    assert_eq!(scene.engine.run_due(), Some(Duration::from_millis(10)));
}

#[test]
fn a_plugin_in_quarantine_is_taken_by_its_failure_mode() {
    for (failure_mode, served) in [(FailureMode::Open, true), (FailureMode::Closed, false)] {
        let trapping = || Guest::new().on("proxy_on_request_headers", "unreachable");
        let configure = |config: &mut PluginConfig| {
            config.failure_mode = failure_mode;
            config.quarantine_traps = 1;
        };
        let mut scene = Scene::new().link(trapping(), configure, false);
        let plugin = scene.links[0].plugin.clone();
        let mut chain = scene.chain();
        let headers = || Item::Headers { end: true };
        assert_eq!(push(&mut chain, Direction::Request, headers()).is_ok(), served, "it traps");
        let observer = Some(Arc::clone(&scene.seen) as Arc<dyn LinkObserver>);
        scene.links.push(Link { plugin: plugin.clone(), shadow: false, observer });
        let mut chain = scene.chain();
        assert_eq!(push(&mut chain, Direction::Request, headers()).is_ok(), served, "it is in quarantine");
        assert_eq!((plugin.stats().traps, plugin.stats().refused_in_quarantine), (1, 1));
    }
}
