//! Guests that misuse streams: resuming what is not held, acting on strangers', answering twice, returning garbage,
//! never resuming, growing bodies.

use bytes::Bytes;
use coditect_proxy_wasm::{Action, Chain, Direction, Item, Link, Outcome, StreamError, TrapCause};
use futures::FutureExt;

use crate::guest::{Guest, OUT};
use crate::world::{engine, exchange, http, load, load_with, share};

const MESSAGES: [(&str, Direction); 6] = [
    ("proxy_on_request_headers", Direction::Request),
    ("proxy_on_request_body", Direction::Request),
    ("proxy_on_request_trailers", Direction::Request),
    ("proxy_on_response_headers", Direction::Response),
    ("proxy_on_response_body", Direction::Response),
    ("proxy_on_response_trailers", Direction::Response),
];

/// Runs all six callbacks of a message each way, and the end; gives their outcomes.
fn life(plugin: &coditect_proxy_wasm::Plugin) -> Result<Vec<Outcome>, StreamError> {
    let mut stream = plugin.open("tenant", share(&http()))?;
    let mut outcomes = Vec::new();
    for direction in [Direction::Request, Direction::Response] {
        outcomes.push(stream.on_headers(direction, false)?);
        outcomes.push(stream.on_body(direction, Bytes::from_static(b"body"), false)?);
        outcomes.push(stream.on_trailers(direction)?);
    }
    stream.close()?;
    Ok(outcomes)
}

fn report(call: &str) -> String {
    format!("(call $report (call ${call}))")
}

#[test]
fn resuming_and_closing_what_is_not_there_is_answered_everywhere() {
    let kinds = ["0", "1", "2", "3", "4", "-1"];
    let resume: String =
        kinds.map(|kind| report(&format!("proxy_continue_stream (i32.const {kind})"))).concat();
    let (plugin, world) = load(Guest::new().fill(&resume).wasm());
    let outcomes = life(&plugin).unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.action == Action::Continue && !outcome.closed));
    let reports = world.reports();
    // Created and configured root, created stream, six of messages, three at the end.
    assert_eq!(reports.len(), kinds.len() * (3 + 1 + 6 + 3));
    assert!(reports.chunks(kinds.len()).all(|answers| answers == [0, 0, 0, 12, 2, 2]), "{reports:?}");
}

#[test]
fn a_stream_is_closed_from_any_callback_and_only_by_a_stream_s_number() {
    for (callback, _) in MESSAGES {
        let body: String = ["2", "3", "4", "0"]
            .map(|kind| report(&format!("proxy_close_stream (i32.const {kind})")))
            .concat();
        let (plugin, world) = load(Guest::new().on(callback, &(body + "(i32.const 0)")).wasm());
        let outcomes = life(&plugin).unwrap();
        assert_eq!(world.reports(), [0, 0, 2, 0], "{callback}");
        let index = MESSAGES.iter().position(|(name, _)| *name == callback).unwrap();
        let closed: Vec<bool> = outcomes.iter().map(|outcome| outcome.closed).collect();
        assert!(!closed[..index].contains(&true) && closed[index], "{callback}: {closed:?}");
        assert_eq!(outcomes[index].action, Action::Pause, "{callback}");
    }
}

/// Only the streams of its own instance that are open are a guest's to act on.
#[test]
fn contexts_of_strangers_and_of_ended_streams_are_refused() {
    let mut guest = Guest::new();
    let secret = guest.text("x-secret");
    // Tries the first hundred ids, counts those that are contexts, and those whose request it can read or answer.
    let text = format!(
        "(func $try (local $i i32) (local $known i32) (local $read i32)
           (loop $again
             (if (i32.eqz (call $proxy_set_effective_context (local.get $i)))
               (then
                 (local.set $known (i32.add (local.get $known) (i32.const 1)))
                 (if (i32.eqz (call $proxy_get_header_map_value (i32.const 0) {secret} {OUT}))
                   (then (local.set $read (i32.add (local.get $read) (i32.const 1)))))))
             (local.set $i (i32.add (local.get $i) (i32.const 1)))
             (br_if $again (i32.lt_u (local.get $i) (i32.const 100))))
           (call $report (local.get $known)) (call $report (local.get $read))
           (call $report (call $proxy_set_effective_context (i32.const -1))))"
    );
    let guest = guest.with(&text).on("proxy_on_response_headers", "(call $try) (i32.const 0)");
    let (plugin, world) = load(guest.wasm());
    let secret = http();
    secret.lock().unwrap().request.push((b"x-secret".to_vec(), b"s".to_vec()));
    let mut others: Vec<_> = (0..3).map(|_| plugin.open("another tenant", share(&secret)).unwrap()).collect();
    for other in &mut others {
        let _ = other.on_headers(Direction::Request, true).unwrap();
    }
    let ended = plugin.open("tenant", share(&secret)).unwrap();
    ended.close().unwrap();
    let mut own = plugin.open("tenant", share(&http())).unwrap();
    let _ = own.on_headers(Direction::Response, true).unwrap();
    assert_eq!(world.reports(), [3, 0, 2], "the module, its root and the one open stream; nothing to read");
}

/// A guest that answers twice in one callback, with 403 and with 500.
#[test]
fn of_two_local_responses_the_first_counts_in_every_callback() {
    let send = |status: u32| {
        report(&format!(
            "proxy_send_local_response (i32.const {status}) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1)"
        ))
    };
    for (callback, _) in MESSAGES {
        let body = format!("{}{} (i32.const 0)", send(403), send(500));
        let (plugin, world) = load(Guest::new().on(callback, &body).wasm());
        let outcomes = life(&plugin).unwrap();
        assert_eq!(world.reports(), [0, 0], "{callback}");
        let answers: Vec<u16> =
            outcomes.iter().filter_map(|outcome| Some(outcome.local_response.as_ref()?.status)).collect();
        assert_eq!(answers, [403], "{callback}");
    }
    // Again in a later callback: the stream was answered.
    let twice = format!("{} (i32.const 0)", send(403));
    let guest = Guest::new()
        .on("proxy_on_request_headers", &twice)
        .on("proxy_on_response_headers", &format!("{} (i32.const 0)", send(500)));
    let (plugin, world) = load(guest.wasm());
    let outcomes = life(&plugin).unwrap();
    assert_eq!(world.reports(), [0, 0]);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.local_response.is_some()).count(), 1);
    // At the end of a stream there is nothing left to answer.
    for callback in ["proxy_on_log", "proxy_on_done", "proxy_on_delete"] {
        let result = if callback == "proxy_on_done" { "(i32.const 1)" } else { "" };
        let (plugin, world) = load(Guest::new().on(callback, &(send(403) + result)).wasm());
        exchange(&plugin, &http());
        assert_eq!(world.reports(), [2], "{callback}");
    }
}

#[test]
fn what_is_no_action_goes_on() {
    for garbage in ["2", "-1", "0x80000000", "7777"] {
        for (callback, direction) in MESSAGES {
            let (plugin, _) = load(Guest::new().on(callback, &format!("(i32.const {garbage})")).wasm());
            let mut stream = plugin.open("tenant", share(&http())).unwrap();
            let outcome = match callback.rsplit('_').next().unwrap() {
                "headers" => stream.on_headers(direction, false),
                "body" => stream.on_body(direction, Bytes::from_static(b"x"), true),
                _ => stream.on_trailers(direction),
            };
            assert_eq!(outcome.unwrap().action, Action::Continue, "{garbage} from {callback}");
            assert!(!stream.holds(direction));
        }
    }
}

/// A request that is held for ever waits for ever; whoever waits can leave, and nothing stays behind.
#[test]
fn a_stream_that_is_never_resumed_can_be_left() {
    let mark = "(call $report (local.get $p0))";
    let guest = Guest::new()
        .on("proxy_on_request_headers", "(i32.const 1)")
        .on("proxy_on_done", &format!("{mark} (i32.const 1)"))
        .on("proxy_on_delete", mark);
    let (engine, world) = engine();
    let mut config = coditect_proxy_wasm::PluginConfig::new("test", guest.wasm());
    config.limits.log_lines_per_second = u32::MAX;
    let plugin = engine.load(config).unwrap();
    world.clear();
    for stream in 2..100 {
        let link = Link { plugin: plugin.clone(), shadow: false, observer: None };
        let mut chain = Chain::new(share(&http()), "tenant", vec![link]);
        let push = chain.push(Direction::Request, Item::Headers { end: true });
        assert!(push.now_or_never().is_none(), "it is held");
        drop(chain);
        assert_eq!(world.reports(), [stream, stream], "done and deleted");
    }
    assert_eq!(engine.live_instances(), 1);
    drop(plugin);
    assert_eq!((engine.live_instances(), engine.live_modules()), (0, 0));
}

/// A stream that says its root context is done does not end the instance under the others.
#[test]
fn only_a_root_context_that_ends_can_be_done() {
    let done = format!(
        "(drop (call $proxy_set_effective_context (i32.const 1))) {} (i32.const 1)",
        report("proxy_done")
    );
    let guest = Guest::new().on("proxy_on_done", &done).on(
        "proxy_on_request_headers",
        "(drop (call $proxy_set_tick_period_milliseconds (i32.const 10))) (i32.const 0)",
    );
    let guest = guest.on("proxy_on_tick", "");
    let (engine, world) = engine();
    let plugin = engine.load(coditect_proxy_wasm::PluginConfig::new("test", guest.wasm())).unwrap();
    world.clear();
    let mut other = plugin.open("tenant", share(&http())).unwrap();
    for _ in 0..3 {
        exchange(&plugin, &http());
        world.pass(std::time::Duration::from_millis(10));
        engine.run_due();
    }
    assert_eq!(world.reports(), [1, 1, 1]);
    let _ = other.on_headers(Direction::Response, true).expect("the instance lives");
    other.close().unwrap();
    assert_eq!(plugin.stats().instances_started, 2, "the canary and one");
}

#[test]
fn a_body_is_held_back_up_to_its_limit() {
    for (callback, direction) in MESSAGES.into_iter().filter(|(name, _)| name.ends_with("body")) {
        let (plugin, _) = load_with(Guest::new().on(callback, "(i32.const 1)").wasm(), |config| {
            config.limits.body_bytes = 100;
        });
        let piece = || Bytes::from_static(&[b'x'; 60]);
        let mut stream = plugin.open("tenant", share(&http())).unwrap();
        assert_eq!(stream.on_body(direction, piece(), false).unwrap().action, Action::Pause);
        let error = stream.on_body(direction, piece(), false).unwrap_err();
        assert!(matches!(error, StreamError::BodyTooLarge { limit: 100, .. }), "{error}");
        // A piece that alone is too large, and then held.
        let mut stream = plugin.open("tenant", share(&http())).unwrap();
        let error = stream.on_body(direction, Bytes::from(vec![0; 101]), false).unwrap_err();
        assert!(matches!(error, StreamError::BodyTooLarge { limit: 100, .. }), "{error}");
    }
    // What is not held may be of any size.
    let (plugin, _) = load_with(Guest::new().on("proxy_on_request_body", "(i32.const 0)").wasm(), |config| {
        config.limits.body_bytes = 100;
    });
    let mut stream = plugin.open("tenant", share(&http())).unwrap();
    let outcome = stream.on_body(Direction::Request, Bytes::from(vec![0; 100_000]), false).unwrap();
    assert_eq!(outcome.body.len(), 100_000);
}

#[test]
fn a_body_that_the_guest_makes_grow_for_ever_is_its_end() {
    for (callback, direction) in MESSAGES.into_iter().filter(|(name, _)| name.ends_with("body")) {
        let buffer = u32::from(direction == Direction::Response);
        for start in ["0", "-1"] {
            let grow = format!(
                "(loop $again
                   (drop (call $proxy_set_buffer_bytes (i32.const {buffer}) (i32.const {start}) (i32.const 0)
                     (i32.const 0) (i32.const 1000)))
                   (br $again)) (i32.const 0)"
            );
            let (plugin, _) = load_with(Guest::new().on(callback, &grow).wasm(), |config| {
                config.limits.body_bytes = 10_000;
                config.limits.callback_cpu = std::time::Duration::from_secs(60);
            });
            let mut stream = plugin.open("tenant", share(&http())).unwrap();
            let error = stream.on_body(direction, Bytes::from_static(b"x"), false).unwrap_err();
            let StreamError::Trap(trap) = error else { panic!("{error}") };
            assert_eq!(trap.cause, TrapCause::Bytes { name: "body_bytes", limit: 10_000 }, "{callback}");
        }
    }
}
