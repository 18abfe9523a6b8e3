//! Plugins over the API of a running edge, tried out by its own host: real guests, and hostile ones.

use crate::support::edge::project;
use crate::support::{Account, Config, Edge, Request, Response, Upstream};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What a refusal of a guest that never ends may take at most: compiling, a budget for each function of its start, and
/// a slow machine.
const SOON: Duration = Duration::from_secs(15);

/// A guest that was compiled by `plugins/examples/build`.
fn guest(name: &str) -> Vec<u8> {
    let file = project().join("target/plugins").join(format!("{name}.wasm"));
    std::fs::read(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; run plugins/examples/build", file.display()))
}

/// A guest of these fields beside what every guest needs.
fn written(fields: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {fields}
            (memory (export "memory") 1)
            (func (export "malloc") (param i32) (result i32) (i32.const 64))
            (func (export "proxy_abi_version_0_2_1")))"#
    );
    wat::parse_str(text).unwrap()
}

struct Scene {
    edge: Edge,
    ada: Account,
}

impl Scene {
    async fn set() -> Self {
        let theia = Upstream::echo().await;
        let edge = Edge::start(&Config::standard(theia.address)).await;
        let ada = edge.register("ada@example.com").await;
        Self { edge, ada }
    }

    async fn upload(&self, name: &str, module: Vec<u8>) -> Response {
        let request = Request::new("POST", &format!("/api/v5/plugins/{name}/versions"));
        let request = request.header("content-type", "application/wasm").bearer(&self.ada.token).body(module);
        self.edge.send(request).await
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        let request = Request::post(&format!("/api/v5/plugins/{path}"), &body);
        self.edge.send(request.bearer(&self.ada.token)).await
    }

    async fn get(&self, path: &str) -> Response {
        self.edge.get_as(&self.ada, &format!("/api/v5/plugins{path}")).await
    }

    /// Uploads what must be refused; gives the message.
    async fn refused(&self, module: Vec<u8>) -> String {
        let began = Instant::now();
        let answer = self.upload("hostile", module).await;
        assert_eq!(answer.refusal(), (422, "PLUGIN_REFUSED".into()), "{}", answer.text());
        assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
        answer.json()["error"]["message"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_real_policy_is_uploaded_activated_and_rolled_back() {
    let scene = Scene::set().await;
    let module = guest("tenant-policy");
    let version = scene.upload("policy", module.clone()).await.data(201);
    assert_eq!((&version["version"], &version["size"]), (&json!(1), &json!(module.len())));
    assert!(["0.1.0", "0.2.0", "0.2.1"].contains(&version["abi"].as_str().unwrap()), "{version}");
    let imports = version["imports"].as_array().unwrap();
    assert!(imports.contains(&json!("env.proxy_send_local_response")), "{version}");
    let kept = scene.get("/policy/versions/1/module").await;
    assert_eq!((kept.status, kept.header("content-type")), (200, Some("application/wasm")));
    assert!(kept.body == module, "the module comes back as it was");

    for (deny, activation) in [("blocked", 1), ("embargoed", 2)] {
        let body = json!({ "version": 1, "configuration": { "deny_values": [deny] } });
        assert_eq!(scene.post("policy/activate", body).await.data(200)["activation"], activation);
    }
    let body = json!({ "version": 1, "configuration": { "deny_valeus": ["typo"] } });
    let refused = scene.post("policy/activate", body).await;
    assert_eq!(refused.refusal(), (422, "PLUGIN_REFUSED".into()));
    assert!(refused.text().contains("proxy_on_configure"), "{}", refused.text());
    let active = scene.get("/policy").await.data(200)["active"].clone();
    assert_eq!(active[0]["configuration"], json!(r#"{"deny_values":["embargoed"]}"#), "the good one stays");
    let back = scene.post("policy/rollback", json!({})).await.data(200);
    assert_eq!(back["configuration"], json!(r#"{"deny_values":["blocked"]}"#));
    scene.post("policy/deactivate", json!({})).await.data(200);

    let data = scene.edge.stop().await;
    let file = data.path().join("edge.toml");
    let verified = crate::support::edge::run(&["--config", file.to_str().unwrap(), "store", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test]
async fn a_module_that_is_none_or_does_not_fit_is_refused_by_what_is_wrong() {
    let scene = Scene::set().await;
    let message = scene.refused(b"GIF89a, and not wasm".to_vec()).await;
    assert!(message.contains("no module in the WebAssembly binary format"), "{message}");
    let mut cut = guest("tenant-policy");
    cut.truncate(cut.len() / 2);
    let message = scene.refused(cut).await;
    assert!(message.contains("not a wasm module this host can run"), "{message}");
    let import = r#"(import "env" "proxy_open_the_doors" (func (param i32)))"#;
    let message = scene.refused(written(import)).await;
    assert!(message.contains("unknown import `env.proxy_open_the_doors` (function)"), "{message}");
    let message = scene.refused(written(r#"(import "env" "proxy_log" (func (param i32)))"#)).await;
    assert!(message.contains("import `env.proxy_log` has type (i32)"), "{message}");
    let unknown_abi = r#"(module (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) (i32.const 64))
        (func (export "proxy_abi_version_0_9_0")))"#;
    let message = scene.refused(wat::parse_str(unknown_abi).unwrap()).await;
    assert!(message.contains("no Proxy-Wasm ABI marker"), "{message}");
    // A name of the module's own is told, but not without end.
    let import = format!(r#"(import "env" "{}" (func))"#, "n".repeat(50_000));
    let message = scene.refused(written(&import)).await;
    assert!(message.len() < 2000, "{} bytes", message.len());

    let mut large = written("");
    large.resize(17 << 20, 0);
    let answer = scene.upload("hostile", large).await;
    assert_eq!(answer.refusal(), (413, "PAYLOAD_TOO_LARGE".into()), "{}", answer.text());
    assert_eq!(scene.get("/hostile").await.status, 404, "nothing was kept");
    scene.upload("hostile", written("")).await.data(201);
}

#[tokio::test]
async fn a_module_that_misbehaves_at_its_start_is_cut_off() {
    const ENDLESS: &str = "(loop $again (br $again))";
    const BOMB: &str = "(loop $again (drop (memory.grow (i32.const 16))) (br $again))";
    const DEEP: &str = "(call $deep)";
    let scene = Scene::set().await;
    for (what, expected) in [(ENDLESS, "CPU budget"), (BOMB, "memory limit"), (DEEP, "stack exhausted")] {
        let deep = "(func $deep (call $deep))";
        for start in [
            format!("{deep} (func $run {what}) (start $run)"),
            format!(r#"{deep} (func (export "_initialize") {what})"#),
            format!(r#"{deep} (func (export "proxy_on_context_create") (param i32 i32) {what})"#),
            format!(
                r#"{deep} (func (export "proxy_on_vm_start") (param i32 i32) (result i32) {what} (i32.const 1))"#
            ),
        ] {
            let message = scene.refused(written(&start)).await;
            assert!(message.contains(expected), "{start}: {message}");
        }
    }
    let refuses = r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 0))"#;
    let message = scene.refused(written(refuses)).await;
    assert!(message.contains("`proxy_on_vm_start` refused"), "{message}");
    // What a module does with a configuration is seen once there is one.
    let endless = format!(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) {ENDLESS} (i32.const 1))"#
    );
    scene.upload("endless", written(&endless)).await.data(201);
    let answer = scene.post("endless/activate", json!({ "version": 1 })).await;
    assert_eq!(answer.refusal(), (422, "PLUGIN_REFUSED".into()));
    assert!(answer.text().contains("CPU budget"), "{}", answer.text());
    assert_eq!(scene.get("/endless").await.data(200)["active"], json!([]));
    // Nobody else noticed.
    assert_eq!(scene.edge.get("/api/v5/health").await.status, 200);
    scene.upload("policy", guest("tenant-policy")).await.data(201);
}
