//! `coditect-edge plugin …` on the real binary: an author's way from a module to a policy at work.

use crate::support::api::PASSWORD;
use crate::support::edge::{binary, project};
use crate::support::{Account, Config, Edge};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder with the guest of the tools' own tests.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let wasm = wat::parse_file(project().join("plugins/tools/tests/tools/gate.wat")).unwrap();
        std::fs::write(folder.path().join("gate.wasm"), wasm).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Runs `plugin` there, with an environment of its own and a text on standard input.
    fn plugin_with(&self, arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
        let mut command = Command::new(binary());
        command.arg("plugin").args(arguments).current_dir(self.0.path()).env_clear();
        command.envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that reads nothing may have ended by now.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        child.wait_with_output().unwrap()
    }

    /// What a command prints and complains of that must exit with this code.
    #[track_caller]
    fn plugin(&self, code: i32, arguments: &[&str]) -> (String, String) {
        let output = self.plugin_with(arguments, &[], "");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, errors) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{errors}");
        (out, errors)
    }

    #[track_caller]
    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let (out, _) = self.plugin(code, &[arguments, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

#[test]
fn check_tells_what_a_module_may_touch_or_why_it_is_refused() {
    let folder = Folder::new();
    let (out, _) = folder.plugin(0, &["check", "gate.wasm"]);
    for expected in ["abi        0.2.1", "It may:\n", "  call upstreams by HTTP", "  proxy_on_request_body\n"]
    {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    let facts = folder.json(0, &["check", "gate.wasm", "--config-text", "good"]);
    assert_eq!((&facts["accepted"], &facts["configured"]), (&json!(true), &json!(true)));
    assert_eq!((&facts["may"]["respond"], &facts["may"]["shared_queues"]), (&json!(true), &json!(false)));

    let (out, _) = folder.plugin(1, &["check", "gate.wasm", "--config-text", "bad"]);
    assert!(out.contains("REFUSED") && out.contains("proxy_on_configure"), "{out}");
    let import = r#"(module (import "env" "proxy_open_the_doors" (func)) (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) (i32.const 0)) (func (export "proxy_abi_version_0_2_1")))"#;
    folder.write("doors.wasm", wat::parse_str(import).unwrap());
    let refused = folder.json(1, &["check", "doors.wasm"]);
    assert!(refused["reason"].as_str().unwrap().contains("`env.proxy_open_the_doors`"), "{refused}");
    folder.write("text.wasm", "no wasm");
    assert!(folder.plugin(1, &["check", "text.wasm"]).0.contains("REFUSED"));
    let (_, errors) = folder.plugin(2, &["check", "nowhere.wasm"]);
    assert!(errors.contains("nowhere.wasm"), "{errors}");
}

#[test]
fn run_shows_an_exchange_with_every_call() {
    let folder = Folder::new();
    let (out, _) = folder.plugin(0, &["run", "gate.wasm", "--request", "GET /admin", "-H", "X-Mode: deny"]);
    for expected in [
        "→ proxy_on_request_headers (context ",
        "proxy_get_header_map_value(request_headers, `x-mode`) = OK value: `deny`",
        "proxy_send_local_response(403, `denied`, `no`, {x-policy: gate}, -1) = OK",
        "-- response as the client gets it\n403\n",
    ] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    let posted = ["run", "gate.wasm", "--request", "POST /x", "--body", "secret", "--status", "201"];
    let posted = folder
        .json(0, &[&posted[..], &["--response-header", "server: s", "--response-body", "made"]].concat());
    assert_eq!(
        (&posted["upstream"]["body"], &posted["response"]["body"]),
        (&json!("REDACTED"), &json!("made"))
    );
    assert_eq!(posted["response"]["headers"][1], json!(["server", "s"]));
    assert_eq!(folder.json(1, &["run", "gate.wasm", "-H", "x-mode: trap"])["good"], false);
    // The exchange of a case, with the answers to calls.
    let case = "upstreams = ['keys']\n[[case]]\nname = 'a'\n[[case]]\nname = 'b'\nrequest = { headers = { x-mode = 'call' } }\n\
                calls = [{ upstream = 'keys', response = { body = 'k3y' } }]";
    folder.write("call.test.toml", case);
    let (out, _) =
        folder.plugin(0, &["run", "gate.wasm", "--case", "call.test.toml", "--name", "b", "--no-trace"]);
    assert!(out.contains("call to keys: GET /keys, answered by the script") && out.contains("k3y"), "{out}");
    for (wrong, expected) in [
        (&["--request", "/x"][..], "no method and path"),
        (&["-H", "x"], "'name: value'"),
        (&["--case", "call.test.toml", "--name", "c"], "no case `c`"),
    ] {
        let (_, errors) = folder.plugin(2, &[&["run", "gate.wasm"][..], wrong].concat());
        assert!(errors.contains(expected), "{errors}");
    }
}

const PASSES: &str = "plugin = 'gate.wasm'\n[[case]]\nname = 'denied'\nrequest = { headers = { x-mode = 'deny' } }\n\
                      expect = { response = { status = 403 } }\n[[case]]\nname = 'let by'\nexpect = { upstream = true }\n";
const FAILS: &str =
    "plugin = 'gate.wasm'\n[[case]]\nname = 'wrong <&>'\nexpect = { response = { status = 403 } }\n";

#[test]
fn test_runs_files_and_directories_and_reports_for_ci() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("suites")).unwrap();
    folder.write("suites/passes.test.toml", PASSES.replace("'gate", "'../gate"));
    let (out, _) = folder.plugin(0, &["test", "suites"]);
    assert!(out.contains("ok    denied") && out.contains("2 cases: 2 passed, 0 failed"), "{out}");
    let (out, _) = folder.plugin(0, &["test", "suites", "--filter", "let"]);
    assert!(out.contains("1 cases: 1 passed"), "{out}");

    folder.write("suites/fails.test.toml", FAILS.replace("'gate", "'../gate"));
    let (out, _) = folder.plugin(1, &["test", "suites", "--junit", "report.xml"]);
    assert!(out.contains("FAIL  wrong <&>\n        response.status: expected `403`, got `200`"), "{out}");
    let report = std::fs::read_to_string(folder.path("report.xml")).unwrap();
    for expected in [
        "<testsuites name=\"plugin test\" tests=\"3\" failures=\"1\" errors=\"0\"",
        "name=\"wrong &lt;&amp;&gt;\"",
        "<failure message=\"response.status: expected `403`, got `200`\">",
    ] {
        assert!(report.contains(expected), "{expected}\n{report}");
    }
    let json = folder.json(1, &["test", "suites"]);
    assert_eq!((&json["passed"], &json["failed"]), (&json!(2), &json!(1)));

    folder.write("suites/broken.test.toml", "[[case]]\nname = 'x'\nexpct = {}");
    let (out, errors) = folder.plugin(2, &["test", "suites"]);
    assert!(
        out.contains("case `x`: expct: unknown field") && errors.contains("1 of 3 files"),
        "{out}{errors}"
    );
    let (_, errors) = folder.plugin(2, &["test", "suites/passes.test.toml", "--filter", "nothing"]);
    assert!(errors.contains("no case to run"), "{errors}");
    let (_, errors) = folder.plugin(2, &["test", "nowhere"]);
    assert!(errors.contains("nowhere"), "{errors}");
}

#[test]
fn test_reads_the_other_format_and_takes_plugin_and_configuration_from_the_command_line() {
    let folder = Folder::new();
    let holds = r#"test {
      name: "Denied"
      request_headers {
        input { header { key: "x-mode" value: "deny" } }
        result { immediate { http_status: 403 } body { exact: "no" } }
      }
    }"#;
    folder.write("tests.textpb", holds);
    let (out, _) = folder.plugin(0, &["test", "tests.textpb", "--plugin", "gate.wasm"]);
    assert!(out.contains("ok    Denied"), "{out}");
    folder.write("tests.textpb", holds.replace("403", "401"));
    let (out, _) = folder.plugin(1, &["test", "tests.textpb", "--plugin", "gate.wasm"]);
    assert!(out.contains("immediate.http_status: expected 401, got 403"), "{out}");
    folder.write("bad.config", "bad");
    let (out, _) =
        folder.plugin(1, &["test", "tests.textpb", "--plugin", "gate.wasm", "--config", "bad.config"]);
    assert!(out.contains("plugin_init: ") && out.contains("proxy_on_configure"), "{out}");
}

#[test]
fn bench_measures_time_and_memory() {
    let measured = Folder::new().json(0, &["bench", "gate.wasm", "--rounds", "20"]);
    assert!(measured["phases_ns"]["request_headers"]["with"]["median"].as_u64().unwrap() > 0, "{measured}");
    assert!(measured["open_streams_bytes"].as_u64().is_some(), "{measured}");
}

/// An edge, a user of it, and the way to name both to a command.
struct Scene {
    folder: Folder,
    edge: Edge,
    ada: Account,
}

impl Scene {
    async fn set() -> Self {
        let edge = Edge::start(&Config::standard("127.0.0.1:1".parse().unwrap())).await;
        let ada = edge.register("ada@example.com").await;
        let folder = Folder::new();
        folder.write("token", format!("{}\n", ada.token));
        Self { folder, edge, ada }
    }

    #[track_caller]
    fn plugin(&self, code: i32, arguments: &[&str]) -> (String, String) {
        let origin = self.edge.origin();
        let edge = ["--edge", origin.as_str(), "--token-file", "token"];
        self.folder.plugin(code, &[arguments, &edge].concat())
    }
}

#[tokio::test]
async fn a_plugin_is_pushed_listed_activated_and_rolled_back() {
    let scene = Scene::set().await;
    assert!(scene.plugin(0, &["list"]).0.contains("there are none"));
    let (out, _) = scene.plugin(0, &["push", "gate.wasm", "--name", "gate", "--note", "first & best"]);
    assert!(out.contains("gate version 1") && out.contains("first & best"), "{out}");
    assert!(scene.plugin(0, &["push", "gate.wasm", "--name", "gate"]).0.contains("this very module"));
    let (out, _) = scene.plugin(0, &["list"]);
    assert!(out.contains("gate\tversion 1\tnot at work"), "{out}");

    for text in ["one", "two"] {
        let (out, _) = scene.plugin(0, &["activate", "gate", "--config-text", text]);
        assert!(out.contains("version 1 at work for all routes"), "{out}");
    }
    let (_, errors) = scene.plugin(1, &["activate", "gate", "--config-text", "bad"]);
    assert!(errors.contains("proxy_on_configure") && errors.contains("PLUGIN_REFUSED"), "{errors}");
    let (_, errors) = scene.plugin(1, &["activate", "other"]);
    assert!(errors.contains("404"), "{errors}");
    let (out, _) = scene.plugin(0, &["rollback", "gate", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["configuration"], "one");
    let target = ["--route", "/theia", "--share-percent", "25", "--shadow", "--fail", "open", "--order", "7"];
    let (out, _) = scene.plugin(0, &[&["activate", "gate", "--version", "1"][..], &target].concat());
    assert!(out.contains("for /theia, as a shadow, 25 % of requests"), "{out}");
    let (out, _) = scene.plugin(0, &["list", "gate"]);
    assert!(
        out.contains("gate version 1\t") && out.contains("activation 4\t") && out.contains("was at work"),
        "{out}"
    );
    scene.plugin(0, &["deactivate", "gate", "--route", "/theia"]);
    scene.plugin(0, &["deactivate", "gate"]);
    assert!(scene.plugin(0, &["list"]).0.contains("not at work"));
}

#[tokio::test]
async fn a_command_speaks_as_whoever_it_is_told_and_never_by_an_argument() {
    let scene = Scene::set().await;
    let origin = scene.edge.origin();
    let list = ["list", "--edge", origin.as_str()];
    let run = |arguments: &[&str], environment: &[(&str, &str)], input: &str| {
        let output = scene.folder.plugin_with(&[&list[..], arguments].concat(), environment, input);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, text) = run(&[], &[], "");
    assert!(code == Some(2) && text.contains("--email") && text.contains("CODITECT_TOKEN"), "{text}");
    assert_eq!(run(&[], &[("CODITECT_TOKEN", &scene.ada.token)], "").0, Some(0));
    let login = ["--email", "ada@example.com", "--password-stdin"];
    assert_eq!(run(&login, &[], &format!("{PASSWORD}\n")).0, Some(0));
    let (code, text) = run(&login, &[], "wrong horse battery\n");
    assert!(code == Some(2) && text.contains("the login of ada@example.com was refused"), "{text}");
    let (code, text) = run(&["--email", "ada@example.com"], &[], "");
    assert!(code == Some(2) && text.contains("--password-stdin"), "nobody can be asked: {text}");
    let (code, text) = run(&[], &[("CODITECT_TOKEN", "not.a.token")], "");
    assert!(code == Some(1) && text.contains("401"), "{text}");
    let (_, errors) = scene.plugin(1, &["list", "--operators"]);
    assert!(errors.contains("403"), "{errors}");
    let nobody = ["list", "--edge", "http://127.0.0.1:1", "--token-file", "token"];
    let (_, errors) = scene.folder.plugin(2, &nobody);
    assert!(errors.contains("no edge answers at 127.0.0.1:1"), "{errors}");
}
