//! `plugin run`: what an exchange leaves behind, and the record of calls.

use super::gate;
use coditect_plugin_tools::rehearse::{Rehearsal, rehearse};
use coditect_plugin_tools::suite::{Case, PluginSettings};
use std::sync::Arc;

fn run(mode: &str, configuration: &str) -> Rehearsal {
    let wasm: Arc<[u8]> = gate().into();
    let settings =
        PluginSettings { configuration: configuration.as_bytes().to_vec(), ..PluginSettings::default() };
    let mut case = Case::default();
    case.request.headers.0.push((b"x-mode".to_vec(), mode.as_bytes().to_vec()));
    rehearse(&wasm, &settings, &case).unwrap()
}

#[test]
fn the_record_has_every_call_in_both_directions() {
    let rehearsal = run("deny", "");
    assert!(rehearsal.is_good());
    let text = rehearsal.human(true);
    for expected in [
        "start\n  → proxy_on_",
        "    proxy_define_metric(counter, `refused`) = OK metric: ",
        "request headers\n",
        "    proxy_log(info, `the request is here`) = OK\n",
        "    proxy_get_header_map_value(request_headers, `x-mode`) = OK value: `deny`\n",
        "    proxy_send_local_response(403, `denied`, `no`, {x-policy: gate}, -1) = OK\n",
        "  ← proxy_on_request_headers\n",
        "response headers\n",
        "    proxy_add_header_map_value(response_headers, `x-response`, `yes`) = OK\n",
        "end of the stream\n",
        "metric refused = 1\n",
        "-- the request does not reach the upstream\n",
        "-- response as the client gets it\n403\nx-policy: gate\ncontent-type: text/plain\nx-response: yes\n\nno\n",
        "-- the plugin answered itself: denied\n",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert!(!text.contains("(canary)") && !text.contains("load\n"), "{text}");
    let json = rehearsal.json();
    assert_eq!(json["response"]["headers"][0], serde_json::json!([":status", "403"]));
    assert_eq!((&json["upstream"], &json["metrics"]["refused"]), (&serde_json::Value::Null, &1.into()));
    assert!(json["trace"].as_array().unwrap().len() > 10);
    assert!(!rehearsal.human(false).contains("proxy_log"));
}

#[test]
fn a_plugin_that_fails_or_is_refused_is_told_with_what_it_did() {
    let trapped = run("trap", "");
    assert!(!trapped.is_good());
    let text = trapped.human(true);
    assert!(
        text.contains("✗ proxy_on_request_headers was cut off") && text.contains("FAILED plugin `run`"),
        "{text}"
    );
    let refused = run("", "bad");
    let text = refused.human(true);
    assert!(
        !refused.is_good() && text.contains("REFUSED") && text.contains("→ proxy_on_configure"),
        "{text}"
    );
    assert!(refused.json()["refused"].as_str().unwrap().contains("proxy_on_configure"));
}
