//! Tests of the case format.
#![allow(clippy::unwrap_used)]

use super::*;

fn parse(text: &str) -> Result<Suite, String> {
    Suite::parse(text, Path::new("policies/a.test.toml")).map_err(|error| error.to_string())
}

const WHOLE: &str = r#"
plugin = "../a.wasm"
config = { allow = ["10.0.0.0/8"], since = 2026-01-01T00:00:00Z, share = 0.5 }
root_id = "r"
upstreams = ["keys"]
limits = { callback_cpu_us = 5000, memory_kib = 1024, calls_per_request = 2 }
stop_iteration = true
failure = "open"
log_level = "debug"

[[case]]
name = "refused"
tenant = "6f0e3c1a-8f1b-4d0e-9d3a-2f8f6a0b7c11"
config = "any bytes"
properties = { "source.address" = "192.0.2.7:4711", "connection.mtls" = true }
time = 2026-01-01T00:00:01Z
advance = 2
fresh = true
[case.request]
method = "POST"
path = "/x?y"
headers = { "X-A" = "b" }
body_chunks = ["a", "b"]
trailers = { t = "1" }
[case.response]
status = 404
[[case.calls]]
upstream = "keys"
response = { status = 200, body = "k" }
expect_request = { path = "/keys" }
[[case.calls]]
upstream = "keys"
fails = "timeout"
[case.expect]
upstream = false
response = { status = 403, no_headers = ["x-a"] }
log = ["outside"]
metrics = { refused = 1 }

[[case]]
name = "second"
"#;

#[test]
fn a_whole_file_is_read() {
    let suite = parse(WHOLE).unwrap();
    assert_eq!(suite.plugin, Some(PathBuf::from("policies/../a.wasm")));
    let configuration = br#"{"allow":["10.0.0.0/8"],"share":0.5,"since":"2026-01-01T00:00:00Z"}"#;
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&suite.settings.configuration).unwrap(),
        serde_json::from_slice::<serde_json::Value>(configuration).unwrap()
    );
    assert_eq!(suite.settings.limits.callback_cpu, Duration::from_millis(5));
    assert_eq!((suite.settings.limits.memory_bytes, suite.settings.limits.calls_per_stream), (1 << 20, 2));
    assert_eq!(suite.settings.limits.start_cpu, Limits::default().start_cpu);
    assert!(suite.settings.stop_iteration && suite.settings.failure_mode == FailureMode::Open);
    let [first, second] = suite.cases.as_slice() else { unreachable!("two cases") };
    assert_eq!(first.configuration.as_deref(), Some(&b"any bytes"[..]));
    assert_eq!(first.time, Some(1_767_225_601_000_000_000));
    assert_eq!(first.advance, Duration::from_secs(2));
    assert_eq!(first.properties[0], ("connection.mtls".to_owned(), PropertyValue::bool(true)));
    assert_eq!(first.calls[1].answer, CallAnswer::Fails(CallFailure::Timeout));
    assert_eq!(first.request.headers.0, [(b"x-a".to_vec(), b"b".to_vec())]);
    assert_eq!(first.response.status, 404);
    assert_eq!((second.time, second.fresh, &second.request), (None, false, &Request::default()));
}

#[test]
fn what_is_wrong_is_named_by_file_line_case_and_key() {
    for (text, expected) in [
        (
            "[[case]]\nname = 'a'\n[case.request]\nmethd = 'GET'",
            "policies/a.test.toml:4: case `a`: request.methd: unknown field `methd`",
        ),
        ("plugn = 'x'", "policies/a.test.toml:1: plugn: unknown field `plugn`"),
        ("[[case]]\nname = 'a'\n[[case]]\nname = 'a'", "case `a`: name: a case needs a name that no other"),
        ("[[case]]\nname = 'a'\nadvance = -1", "case `a`: advance: -1 s is not between"),
        ("[[case]]\nname = 'a'\ntime = 'noon'", "case `a`: time: `noon` is no moment"),
        (
            "[[case]]\nname = 'a'\ncalls = [{ upstream = 'u', fails = 'late' }]",
            "case `a`: calls[0].fails: unknown",
        ),
        ("limits = { cpu = 1 }", "limits.cpu: unknown field `cpu`, expected one of `callback_cpu_us`"),
        ("config = { x = inf }", "config: a number that JSON cannot say"),
        (
            "[[case]]\nname = 'a'\nexpect = { upstream = false, request = {} }",
            "case `a`: expect.request: a request that does not reach",
        ),
        ("[[case]", "policies/a.test.toml:1: "),
    ] {
        let message = parse(text).unwrap_err();
        assert!(message.contains(expected), "{text}\n{message}");
    }
}
