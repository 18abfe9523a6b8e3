//! Cases in the format of service-extensions, of our own making.

use super::{Folder, all_pass, mismatches};

const HOLDS: &str = r#"
env { log_level: DEBUG time_secs: 123456789 log_path: "/dev/stdout" }
test {
  name: "Passes"
  benchmark: true
  plugin_init { log { regex: ".*" invert: true } }
  stream_init { log { exact: "x" invert: true } }
  request_headers {
    input { header { key: ":path" value: "/" } header { key: "X-Seen" value: "before" } }
    result {
      has_header { key: "x-seen" value: "before, yes" }
      has_header { key: ":path" value: "/" }
      no_header { key: ":scheme" }
      headers { regex: "X-Seen: before, y.s" }
      headers { regex: ":scheme:.*" invert: true }
      log { regex: "the request.*" }
    }
  }
  request_body { input { content: "12" } result { body { exact: "REDACTED" } } }
  request_body { input { content: "34" } result { body { regex: "RED[A-Z]+" } } }
  response_headers { result { has_header { key: "X-Response" value: "yes" } log { regex: ".+" invert: true } } }
  response_body { input { content: "as it is" } result { body { exact: "as it is" } } }
  stream_destroy { log { exact: "the stream is over" } }
}
test {
  name: "HTTP1"
  request_headers {
    input { content: "GET /my HTTP/1.1\nHost: a.example\nX-Mode: deny\n" }
    result {
      immediate { http_status: 403 details: "denied" }
      body { exact: "no" }
      has_header { key: "x-policy" value: "gate" }
      no_header { key: "x-mode" }
    }
  }
}
test {
  name: "Chunks"
  num_chunks: 3
  request_body { input { content: "1234567" } result { body { exact: "REDACTED" } } }
}
test {
  name: "Property"
  properties { path: "gate.mode" value: "0" }
  request_headers { input { header { key: "x-mode" value: "property" } } }
}
"#;

#[test]
fn tests_that_hold_pass() {
    all_pass(&Folder::new().run("tests.textpb", HOLDS));
}

#[test]
fn each_expectation_that_does_not_hold_is_told() {
    let folder = Folder::new();
    let deny = r#"input { header { key: "x-mode" value: "deny" } }"#;
    for (phases, expected) in [
        (
            "request_headers { result { has_header { key: \"x-seen\" value: \"no\" } } }".to_owned(),
            "request_headers.has_header.x-seen: expected `no`, got `yes`",
        ),
        (
            "request_headers { result { no_header { key: \"X-Seen\" } } }".to_owned(),
            "request_headers.no_header.X-Seen: expected none, but it is `yes`",
        ),
        (
            "request_headers { result { headers { exact: \"x-seen: no\" } } }".to_owned(),
            "request_headers.headers: expected `x-seen: no`, got:\nx-seen: yes",
        ),
        (
            "response_body { input { content: \"a\" } result { body { regex: \"b\" } } }".to_owned(),
            "response_body.body: expected /b/, got `a`",
        ),
        (
            format!("request_headers {{ {deny} }}"),
            "request_headers.immediate: expected none, but the plugin answered 403",
        ),
        (
            format!("request_headers {{ {deny} result {{ immediate {{ http_status: 401 }} }} }}"),
            "request_headers.immediate.http_status: expected 401, got 403",
        ),
        (
            "request_headers { result { immediate { } } }".to_owned(),
            "request_headers.immediate: expected one, but the plugin let it pass",
        ),
        (
            "request_headers { input { header { key: \"x-mode\" value: \"hold\" } } }".to_owned(),
            "request_headers: expected that it goes on, but the plugin paused",
        ),
        (
            "request_headers { input { header { key: \"x-mode\" value: \"trap\" } } }".to_owned(),
            "request_headers: plugin `test` (tenant public) trapped in `proxy_on_request_headers`",
        ),
        (
            "response_headers { result { log { exact: \"x\" } } }".to_owned(),
            "response_headers.log: expected `x`, got: nothing",
        ),
        (
            // After an immediate response the plugin sees nothing more.
            format!(
                "request_headers {{ {deny} result {{ immediate {{ }} }} }} \
                 response_headers {{ result {{ has_header {{ key: \"x-response\" value: \"yes\" }} }} }}"
            ),
            "response_headers.has_header.x-response: expected `yes`, but there is none",
        ),
    ] {
        let found = mismatches(&folder.run("tests.textpb", &format!("test {{ name: \"one\" {phases} }}")));
        assert!(found.iter().any(|found| found.contains(expected)), "{phases}\n{found:#?}");
    }
}
