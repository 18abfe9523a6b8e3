//! Cases of our own format.

use super::{Folder, all_pass, mismatches};

/// All that a case can expect, and that holds.
const HOLDS: &str = r#"
upstreams = ["keys"]

[[case]]
name = "passes and is marked"
request = { method = "POST", path = "/x?y", headers = { x-a = "1" }, body_chunks = ["sec", "ret"] }
response = { status = 201, headers = { server = "s" }, body = "made", trailers = { x-t = "1" } }
[case.expect]
upstream = true
request = { method = "POST", path = "/x?y", headers = { x-a = "1", x-seen = "yes" }, no_headers = ["x-b"], body = "REDACTED" }
response = { status = 201, headers = { server = "s", x-response = "yes" }, body = "made", trailers = { x-t = "1" } }
closed = false
log = ["the request is"]
no_log = ["the stream is over"]
metrics = { refused = 0 }

[[case]]
name = "is denied"
request = { headers = { x-mode = "deny" } }
[case.expect]
upstream = false
response = { status = 403, headers = { x-policy = "gate", x-response = "yes" }, body = "no", details = "denied" }
metrics = { refused = 1 }

[[case]]
name = "is counted on"
request = { headers = { x-mode = "deny" } }
expect = { metrics = { refused = 2 } }

[[case]]
name = "starts anew"
fresh = true
request = { headers = { x-mode = "deny" } }
expect = { metrics = { refused = 1 } }

[[case]]
name = "asks for a key first"
request = { headers = { x-mode = "call" } }
calls = [{ upstream = "keys", response = { body = "k3y" }, expect_request = { method = "GET", path = "/keys" } }]
expect = { upstream = true, log = ["k3y"] }

[[case]]
name = "asks for a key by gRPC"
request = { headers = { x-mode = "grpc" } }
calls = [{ upstream = "keys", grpc = { messages = ["k1"] }, expect_request = { path = "/pkg.Keys/Get", body = "which?" } }]
expect = { upstream = true, log = ["k1"] }

[[case]]
name = "a gRPC call that fails"
request = { headers = { x-mode = "grpc" } }
calls = [{ upstream = "keys", fails = "unreachable" }]
expect = { upstream = true, no_log = ["k1"] }

[[case]]
name = "a gRPC call that is refused"
request = { headers = { x-mode = "grpc" } }
calls = [{ upstream = "keys", grpc = { status = 7, message = "not you" } }]
expect = { upstream = true, no_log = ["k1"] }

[[case]]
name = "a call that times out"
request = { headers = { x-mode = "call" } }
calls = [{ upstream = "keys", fails = "timeout" }]
expect = { upstream = true, no_log = ["k3y"], properties = { "request.duration" = 2000000000 } }

[[case]]
name = "holds for ever"
request = { headers = { x-mode = "hold" } }
expect = { upstream = false, failure = "no call and no tick", response = { status = 504 } }

[[case]]
name = "waits for a tick"
config = "tick"
request = { headers = { x-mode = "wait" } }
expect = { upstream = true, response = { status = 200 } }

[[case]]
name = "sets a property"
request = { headers = { x-mode = "property" } }
expect = { properties = { "gate.mode" = "1", "source.port" = 40000 } }

[[case]]
name = "traps"
request = { headers = { x-mode = "trap" } }
expect = { upstream = false, failure = "unreachable", response = { status = 503 } }

[[case]]
name = "goes on after the trap"
expect = { upstream = true }

[[case]]
name = "closes"
request = { headers = { x-mode = "x" } }
expect = { upstream = false, closed = true }

[[case]]
name = "does not take a bad configuration"
config = "bad"
expect = { refused = "proxy_on_configure" }
"#;

#[test]
fn cases_that_hold_pass() {
    all_pass(&Folder::new().run("holds.test.toml", HOLDS));
}

#[test]
fn runs_are_the_same_each_time() {
    let folder = Folder::new();
    let shown = || {
        let report = folder.run("holds.test.toml", HOLDS);
        report.cases.into_iter().map(|case| (case.name, case.verdict, case.lines)).collect::<Vec<_>>()
    };
    assert_eq!(shown(), shown());
}

#[test]
fn each_expectation_that_does_not_hold_is_told() {
    let folder = Folder::new();
    for (case, expected) in [
        (
            r#"expect = { upstream = false }"#,
            "upstream: expected no request there, but this reached it: GET /",
        ),
        (
            r#"request = { headers = { x-mode = "deny" } }
               expect = { request = {} }"#,
            "upstream: expected the request there, but it did not reach it",
        ),
        (r#"expect = { request = { path = "/x" } }"#, "request.path: expected `/x`, got `/`"),
        (
            r#"expect = { request = { headers = { x-seen = "no" } } }"#,
            "request.headers.x-seen: expected `no`, but it is `yes`",
        ),
        (
            r#"expect = { request = { no_headers = ["x-seen"] } }"#,
            "request.no_headers: expected no `x-seen`, but it is `yes`",
        ),
        (r#"expect = { response = { status = 404 } }"#, "response.status: expected `404`, got `200`"),
        (
            r#"response = { body = "a" }
               expect = { response = { body = "b" } }"#,
            "response.body: expected `b`, got `a`",
        ),
        (
            r#"response = { body = "abc" }
               expect = { response = { body_contains = "x" } }"#,
            "response.body_contains: expected `x` in `abc`",
        ),
        (r#"expect = { log = ["unheard of"] }"#, "log: expected a line with `unheard of`"),
        (
            r#"expect = { no_log = ["the request"] }"#,
            "no_log: expected no line with `the request`, got `the request is here`",
        ),
        (r#"expect = { metrics = { refused = 1 } }"#, "metrics.refused: expected 1, got 0"),
        (r#"expect = { metrics = { other = 1 } }"#, "no such metric; there are: refused"),
        (
            r#"expect = { properties = { "gate.mode" = "1" } }"#,
            "properties.gate.mode: expected `1`, but nobody set it",
        ),
        (r#"expect = { closed = true }"#, "closed: expected true, but the connection was not broken off"),
        (r#"expect = { failure = "x" }"#, "failure: expected `x`, but the plugin did nothing wrong"),
        (
            r#"request = { headers = { x-mode = "trap" } }"#,
            "failure: plugin `test` (tenant public) trapped in `proxy_on_request_headers`",
        ),
        (r#"request = { headers = { x-mode = "hold" } }"#, "failure: the plugin holds the exchange"),
        (
            r#"request = { headers = { x-mode = "call" } }"#,
            "calls: no answer is left for the call to `keys`: GET /keys",
        ),
        (r#"calls = [{ upstream = "keys" }]"#, "calls[0]: expected a call to `keys`, but it was not made"),
        (
            r#"request = { headers = { x-mode = "call" } }
               calls = [{ upstream = "keys", expect_request = { path = "/other" } }]"#,
            "calls[0].expect_request.path: expected `/other`, got `/keys`",
        ),
        (
            r#"request = { headers = { x-mode = "grpc" } }
               calls = [{ upstream = "keys" }]"#,
            "calls[0]: the call is by gRPC: its answer is written as `grpc`",
        ),
        (r#"expect = { refused = "x" }"#, "refused: expected that it is refused with `x`, but it was loaded"),
        (r#"config = "bad""#, "plugin: plugin `test`: the canary instance failed"),
    ] {
        let text = format!("upstreams = [\"keys\"]\n[[case]]\nname = \"one\"\n{case}");
        let found = mismatches(&folder.run("one.test.toml", &text));
        assert!(found.iter().any(|found| found.contains(expected)), "{case}\n{found:#?}");
    }
}

#[test]
fn time_passes_only_where_a_case_says_so() {
    let text = r#"
        config = "tick"
        [[case]]
        name = "a tick comes before the exchange"
        advance = 2.5
        time = "2026-03-01T00:00:00Z"
        expect = { log = ["tick"], properties = { "request.time" = 1772323202500000000 } }
        [[case]]
        name = "the clock goes on"
        expect = { no_log = ["tick"], properties = { "request.time" = 1772323202500000000 } }
    "#;
    all_pass(&Folder::new().run("time.test.toml", text));
}

#[test]
fn a_file_that_cannot_be_run_says_why() {
    let folder = Folder::new();
    let broken = folder.run("broken.test.toml", "[[case]]\nname = 'x'\nexpct = {}");
    assert!(broken.error.as_ref().unwrap().contains("case `x`: expct: unknown field"), "{broken:?}");
    let file = folder.write("alone.test.toml", "[[case]]\nname = 'x'");
    let alone = coditect_plugin_tools::run_file(&file, &Default::default());
    assert!(alone.error.unwrap().contains("give one with --plugin"));
    let file = folder.write("gone.test.toml", "plugin = 'gone.wasm'\n[[case]]\nname = 'x'");
    let gone = coditect_plugin_tools::run_file(&file, &Default::default());
    assert!(gone.error.unwrap().contains("gone.wasm"));
    let file = folder.write("near.test.toml", "plugin = 'gate.wasm'\n[[case]]\nname = 'x'");
    all_pass(&coditect_plugin_tools::run_file(&file, &Default::default()));
}
