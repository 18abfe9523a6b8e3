//! Plugins that are put to work over the API of a running edge: whom they touch, how soon, and what a restart keeps.

use crate::support::edge::project;
use crate::support::guest::{Guest, Guests};
use crate::support::{Account, Answer, Config, DEADLINE, Edge, Request, Response, Upstream, wait_for};
use serde_json::{Value, json};

/// The policy that `plugins/examples/build` compiles. It marks every response it sees.
fn policy() -> Vec<u8> {
    let file = project().join("target/plugins/tenant-policy.wasm");
    std::fs::read(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; run plugins/examples/build", file.display()))
}

/// An edge, with whoever works on plugins, and another tenant.
struct Scene {
    edge: Edge,
    config: Config,
    ada: Account,
    eve: Account,
}

impl Scene {
    async fn set() -> Self {
        let theia = Upstream::echo().await;
        let config = Config::standard(theia.address);
        let edge = Edge::start(&config).await;
        let ada = edge.register("ada@example.com").await;
        let eve = edge.register("eve@example.com").await;
        Self { edge, config, ada, eve }
    }

    /// The same with Ada's tenant as the operators'.
    async fn operated_by_ada() -> Self {
        let Self { edge, config, ada, .. } = Self::set().await;
        let config = config.auth(&format!("operator_tenant = '{}'", ada.tenant_id));
        let edge = Edge::start_on(edge.stop().await, &config).await;
        let (ada, eve) = (edge.login("ada@example.com").await, edge.login("eve@example.com").await);
        Self { edge, config, ada, eve }
    }

    /// Ends the edge and starts it again on what it has stored.
    async fn restarted(self) -> Self {
        let Self { edge, config, ada, eve } = self;
        let edge = Edge::start_on(edge.stop().await, &config).await;
        Self { edge, config, ada, eve }
    }

    /// Uploads the policy as `policy`; `query` says in whose name.
    async fn upload(&self, query: &str) {
        self.upload_as("policy", policy(), query).await;
    }

    async fn upload_as(&self, name: &str, module: Vec<u8>, query: &str) {
        let request = Request::new("POST", &format!("/api/v5/plugins/{name}/versions{query}"));
        let request = request.header("content-type", "application/wasm").bearer(&self.ada.token);
        self.edge.send(request.body(module)).await.data(201);
    }

    /// Does something with the policy.
    async fn post(&self, what: &str, body: Value) -> Response {
        let request = Request::post(&format!("/api/v5/plugins/policy/{what}"), &body);
        self.edge.send(request.bearer(&self.ada.token)).await
    }

    async fn asks(&self, who: &Account, region: &str) -> Response {
        let request = Request::get("/api/v5/users/me").bearer(&who.token);
        self.edge.send(request.header("x-coditect-region", region)).await
    }

    /// Whether a request from this region is let through, and meets the policy, by now. While that is loaded for the
    /// first time neither.
    async fn passes(&self, who: &Account, region: &str) -> (bool, bool) {
        let answer = self.asks(who, region).await;
        match answer.status {
            200 => (true, answer.header("x-policy-plugin").is_some()),
            503 => {
                assert_eq!(answer.refusal(), (503, "PLUGIN_FAILED".into()), "{}", answer.text());
                (false, false)
            }
            _ => {
                assert_eq!(answer.refusal(), (403, "POLICY_DENIED".into()), "{}", answer.text());
                (false, true)
            }
        }
    }

    async fn until(&self, what: &str, who: &Account, region: &str, expected: (bool, bool)) {
        wait_for(what, DEADLINE, async || (self.passes(who, region).await == expected).then_some(())).await;
    }
}

fn denying(region: &str) -> Value {
    json!({ "version": 1, "configuration": { "deny_values": [region] } })
}

const REFUSED: (bool, bool) = (false, true);
const WATCHED: (bool, bool) = (true, true);
const UNTOUCHED: (bool, bool) = (true, false);

#[tokio::test]
async fn a_tenants_plugin_is_at_work_for_that_tenant_alone_until_it_is_taken_out() {
    let scene = Scene::set().await;
    scene.upload("").await;
    assert_eq!(scene.passes(&scene.ada, "blocked").await, UNTOUCHED, "an upload alone does nothing");
    scene.post("activate", denying("blocked")).await.data(200);
    scene.until("the policy is at work", &scene.ada, "blocked", REFUSED).await;
    assert_eq!(scene.passes(&scene.ada, "elsewhere").await, WATCHED);
    assert_eq!(scene.passes(&scene.eve, "blocked").await, UNTOUCHED, "another tenant's requests");

    scene.post("activate", denying("embargoed")).await.data(200);
    scene.until("the next configuration is at work", &scene.ada, "embargoed", REFUSED).await;
    assert_eq!(scene.passes(&scene.ada, "blocked").await, WATCHED, "in place of the one before");
    let typo = json!({ "version": 1, "configuration": { "deny_valeus": ["typo"] } });
    assert_eq!(scene.post("activate", typo).await.refusal(), (422, "PLUGIN_REFUSED".into()));
    assert_eq!(scene.passes(&scene.ada, "embargoed").await, REFUSED, "a bad one leaves the good one at work");
    scene.post("rollback", json!({})).await.data(200);
    scene.until("the one before is back", &scene.ada, "blocked", REFUSED).await;

    let scene = scene.restarted().await;
    assert_eq!(scene.passes(&scene.ada, "blocked").await, REFUSED, "the first request after a restart");
    assert_eq!(scene.passes(&scene.eve, "blocked").await, UNTOUCHED);
    let gauge = async |name: &str| scene.edge.metrics().await.sum(name, &[]);
    assert_eq!(gauge("coditect_plugins_wanted").await, 1.0);
    assert_eq!(gauge("coditect_plugins_unfulfilled").await, 0.0);
    assert_eq!(gauge("coditect_plugin_modules").await, 1.0);
    scene.post("deactivate", json!({})).await.data(200);
    scene.until("it is out of work", &scene.ada, "blocked", UNTOUCHED).await;
    wait_for("what it held is freed", DEADLINE, async || {
        let held = (gauge("coditect_plugin_modules").await, gauge("coditect_plugin_instances").await);
        (held == (0.0, 0.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_refuses_everything_can_be_taken_out_of_work() {
    let scene = Scene::set().await;
    scene.upload("").await;
    let all = json!({ "version": 1, "configuration": { "deny_path_prefixes": ["/api"] } });
    scene.post("activate", all).await.data(200);
    scene.until("it refuses everything", &scene.ada, "anywhere", REFUSED).await;
    scene.post("deactivate", json!({})).await.data(200);
    scene.until("it is out of work", &scene.ada, "anywhere", UNTOUCHED).await;
}

#[tokio::test]
async fn the_operators_plugin_is_for_all_or_for_whom_they_name() {
    let scene = Scene::operated_by_ada().await;
    let operators = "?scope=operators";
    scene.upload(operators).await;
    let for_eve = json!({ "version": 1, "tenantId": scene.eve.tenant_id });
    scene.post(&format!("activate{operators}"), for_eve).await.data(200);
    scene.until("it is at work for one tenant", &scene.eve, "blocked", WATCHED).await;
    assert_eq!(scene.passes(&scene.ada, "blocked").await, UNTOUCHED);
    scene.post(&format!("activate{operators}"), denying("blocked")).await.data(200);
    scene.until("it is at work for all", &scene.ada, "blocked", REFUSED).await;
    assert_eq!(scene.passes(&scene.eve, "blocked").await, REFUSED);
    let nobody = scene.edge.send(Request::get("/").header("x-coditect-region", "blocked")).await;
    assert_eq!(nobody.refusal(), (403, "POLICY_DENIED".into()), "for requests without a tenant too");

    scene.post(&format!("deactivate{operators}"), json!({})).await.data(200);
    scene.until("it is at work for one tenant again", &scene.ada, "blocked", UNTOUCHED).await;
    assert_eq!(scene.passes(&scene.eve, "blocked").await, WATCHED);
    let for_route = json!({ "version": 1, "route": "/", "configuration": { "deny_values": ["blocked"] } });
    scene.post(&format!("activate{operators}"), for_route).await.data(200);
    wait_for("it is at work on a route", DEADLINE, async || {
        let page = scene.edge.send(Request::get("/").header("x-coditect-region", "blocked")).await;
        (page.status == 403).then_some(())
    })
    .await;
    assert_eq!(scene.passes(&scene.ada, "blocked").await, UNTOUCHED, "not on the API's");
}

#[tokio::test]
async fn a_canary_is_for_a_share_of_users_who_stay_in_it() {
    const USERS: usize = 40;
    let scene = Scene::operated_by_ada().await;
    scene.upload("?scope=operators").await;
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(scene.edge.register(&format!("user{number}@example.com")).await);
    }
    let canary = json!({ "version": 1, "sharePercent": 30 });
    scene.post("activate?scope=operators", canary).await.data(200);
    let met = async |scene: &Scene| {
        let mut met = Vec::new();
        for user in &users {
            met.push(scene.passes(user, "anywhere").await == WATCHED);
        }
        met
    };
    wait_for("the canary is at work", DEADLINE, async || met(&scene).await.contains(&true).then_some(()))
        .await;
    let some = met(&scene).await;
    let count = some.iter().filter(|met| **met).count();
    assert!((1..=28).contains(&count), "30 % of {USERS} users are {count}: {some:?}");
    assert_eq!(met(&scene).await, some, "each stays on a side");
    let scene = scene.restarted().await;
    assert_eq!(met(&scene).await, some, "also after a restart");
    let all = json!({ "version": 1, "sharePercent": 100 });
    scene.post("activate?scope=operators", all).await.data(200);
    wait_for("it is for all", DEADLINE, async || (!met(&scene).await.contains(&false)).then_some(())).await;
}

#[tokio::test]
async fn a_shadow_is_watched_and_changes_nothing() {
    let scene = Scene::set().await;
    scene.upload("").await;
    let mut shadow = denying("blocked");
    shadow["shadow"] = json!(true);
    scene.post("activate", shadow).await.data(200);
    let label = format!("{}/policy", scene.ada.tenant_id);
    let refusals = async || {
        assert_eq!(scene.passes(&scene.ada, "blocked").await, UNTOUCHED);
        let labels = [("plugin", label.as_str()), ("verdict", "respond")];
        scene.edge.metrics().await.sum("coditect_plugin_shadow_verdicts_total", &labels)
    };
    wait_for("what it would refuse is counted", DEADLINE, async || (refusals().await > 0.0).then_some(()))
        .await;
    scene.post("activate", denying("blocked")).await.data(200);
    scene.until("it is in force", &scene.ada, "blocked", REFUSED).await;
}

#[tokio::test]
async fn an_activation_for_a_route_that_is_none_is_shown_and_told_once() {
    let scene = Scene::set().await;
    scene.upload("").await;
    let reason = [("reason", "no_route")];
    let astray = async || scene.edge.metrics().await.sum("coditect_plugins_unfulfilled", &reason);
    scene.post("activate", json!({ "version": 1, "route": "/nowhere" })).await.data(200);
    wait_for("it is shown", DEADLINE, async || (astray().await == 1.0).then_some(())).await;
    // Read again with each change.
    scene.post("activate", denying("blocked")).await.data(200);
    scene.until("the other is at work", &scene.ada, "blocked", REFUSED).await;
    assert_eq!(astray().await, 1.0);
    let errors = scene.edge.stderr();
    let told: Vec<&str> =
        errors.lines().filter(|line| line.contains("a route that the configuration does not have")).collect();
    assert_eq!(told.len(), 1, "{errors}");
    assert!(told[0].contains("/nowhere") && told[0].contains("/theia"), "{}", told[0]);

    let config = scene.config.clone().route("/nowhere", "local = 'console'\nauth = 'public'");
    assert!(scene.edge.reload(&config).await, "{}", scene.edge.stderr());
    assert_eq!(astray().await, 0.0);
}

/// Speaks for the whole origin in every response, and in one of its own.
fn presumptuous() -> Guest {
    let mut guest = Guest::new();
    let (name, value) = (guest.string("strict-transport-security"), guest.string("max-age=0"));
    let headers = [
        guest.add_header(2, "clear-site-data", "\"*\""),
        guest.add_header(2, "service-worker-allowed", "/"),
        guest.add_header(2, "x-own", "1"),
        format!("(drop (call $proxy_replace_header_map_value (i32.const 2) {name} {value}))"),
    ];
    let (asked, nothing) = (guest.string("x-answer"), guest.string(""));
    let pairs = guest.pairs(&[("clear-site-data", "\"*\""), ("x-local", "1")]);
    let answer = format!(
        "(if (i32.eqz (call $proxy_get_header_map_value (i32.const 0) {asked} (i32.const 64) (i32.const 68))) \
         (then (drop (call $proxy_send_local_response (i32.const 200) {nothing} {nothing} {pairs} (i32.const -1))) \
         (return (i32.const 1)))) (i32.const 0)"
    );
    guest
        .on("proxy_on_request_headers", &answer)
        .on("proxy_on_response_headers", &format!("{} (i32.const 0)", headers.concat()))
}

#[tokio::test]
async fn a_tenants_own_plugin_does_not_speak_for_the_whole_origin() {
    let guests = Guests::new();
    let app = Upstream::start(|_| Answer::ok("app").with("strict-transport-security", "max-age=60")).await;
    let mut operators = Guest::new();
    let added = operators.add_header(2, "alt-svc", "clear");
    let operators = operators.on("proxy_on_response_headers", &format!("{added} (i32.const 0)"));
    let config = Config::standard(app.address)
        .upstream("app", app.address)
        .plugin_file("operators", &guests.file("operators", operators), "")
        .route("/app", "upstream = 'app'\nauth = 'jwt'\nplugins = [{ plugin = 'operators' }]");
    let edge = Edge::start(&config).await;
    let ada = edge.register("ada@example.com").await;
    let eve = edge.register("eve@example.com").await;
    let scene = Scene { edge, config, ada, eve };
    scene.upload_as("own", presumptuous().wasm(), "").await;
    let activate = Request::post("/api/v5/plugins/own/activate", &json!({ "version": 1 }));
    scene.edge.send(activate.bearer(&scene.ada.token)).await.data(200);
    let get =
        async |who: &Account, target: &str| scene.edge.send(Request::get(target).bearer(&who.token)).await;
    wait_for("the plugin is at work", DEADLINE, async || {
        get(&scene.ada, "/app").await.header("x-own").is_some().then_some(())
    })
    .await;

    const WIDE: [&str; 3] = ["clear-site-data", "service-worker-allowed", "alt-svc"];
    for target in ["/app", "/api/v5/users/me"] {
        let answer = get(&scene.ada, target).await;
        assert_eq!((answer.status, answer.header("x-own")), (200, Some("1")), "{target}");
        assert_eq!(WIDE.map(|name| answer.header(name)), [None; 3], "{target}");
        let transport = answer.header("strict-transport-security");
        assert_ne!(transport, Some("max-age=0"), "{target}: what the origin said is not overwritten");
    }
    let asked = Request::get("/app").bearer(&scene.ada.token).header("x-answer", "1");
    let answer = scene.edge.send(asked).await;
    assert_eq!((answer.header("x-local"), answer.header("x-own")), (Some("1"), Some("1")));
    assert_eq!(WIDE.map(|name| answer.header(name)), [None; 3], "nor in a response of its own");
    let others = get(&scene.eve, "/app").await;
    assert_eq!(others.header("strict-transport-security"), Some("max-age=60"));
    assert_eq!(others.header("alt-svc"), Some("clear"), "the operators' plugin may, where no tenant's is");
}
