//! Plugins that are put to work over the API of a running edge: whom they touch, how soon, and what a restart keeps.

use crate::support::edge::project;
use crate::support::{Account, Config, DEADLINE, Edge, Request, Response, Upstream, wait_for};
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
        let request = Request::new("POST", &format!("/api/v5/plugins/policy/versions{query}"));
        let request = request.header("content-type", "application/wasm").bearer(&self.ada.token);
        self.edge.send(request.body(policy())).await.data(201);
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

    /// Whether a request from this region is let through, and meets the policy, by now.
    async fn passes(&self, who: &Account, region: &str) -> (bool, bool) {
        let answer = self.asks(who, region).await;
        match answer.status {
            200 => (true, answer.header("x-policy-plugin").is_some()),
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
