//! Plugins in a running edge: whom they touch, what they see, and what happens when they fail.

use crate::support::config::THEIA;
use crate::support::{Account, Answer, Config, Edge, Request, Response, Upstream, ws};

/// An edge with two tenants' users, each with a workspace.
struct Scene {
    edge: Edge,
    theia: Upstream,
    config: Config,
    ada: Account,
    eve: Account,
    adas: String,
    eves: String,
}

impl Scene {
    async fn set() -> Self {
        let theia = Upstream::echo().await;
        let config = Config::standard(theia.address);
        let edge = Edge::start(&config).await;
        let ada = edge.register("ada@example.com").await;
        let eve = edge.register("eve@example.com").await;
        let adas = edge.create_session(&ada, "a").await;
        let eves = edge.create_session(&eve, "e").await;
        Self { edge, theia, config, ada, eve, adas, eves }
    }

    /// Uses the plugin `used` for Ada's tenant on `/theia`.
    fn for_ada(&self, config: Config) -> Config {
        let tenants = &self.ada.tenant_id;
        config
            .route("/theia", &format!("{THEIA}\nplugins = [{{ plugin = 'used', tenants = ['{tenants}'] }}]"))
    }

    async fn use_for_ada(&self, wasm: &str, more: &str) {
        let config = self.for_ada(self.config.clone().plugin("used", wasm, more));
        assert!(self.edge.reload(&config).await, "{}", self.edge.stderr());
    }

    async fn ada_asks(&self, header: &str, value: &str) -> Response {
        let request = Request::get(&format!("/theia/{}/x", self.adas)).bearer(&self.ada.token);
        self.edge.send(request.header(header, value)).await
    }

    async fn eve_asks(&self, header: &str, value: &str) -> Response {
        let request = Request::get(&format!("/theia/{}/x", self.eves)).bearer(&self.eve.token);
        self.edge.send(request.header(header, value)).await
    }

    async fn traps(&self) -> f64 {
        self.edge.metrics().await.sum("coditect_plugin_traps_total", &[("plugin", "used")])
    }
}

#[tokio::test]
async fn a_plugin_that_fails_fails_its_request_and_no_other() {
    let scene = Scene::set().await;
    scene.use_for_ada("trap", "").await;
    let mut traps = 0.0;
    for failure in ["x-trap", "x-loop", "x-memory"] {
        let reached = scene.theia.count();
        let failed = scene.ada_asks(failure, "1").await;
        assert_eq!(failed.refusal(), (503, "PLUGIN_FAILED".into()), "{failure}");
        assert_eq!(scene.theia.count(), reached, "{failure}: closed means closed");
        traps += 1.0;
        assert_eq!(scene.traps().await, traps, "{failure} is counted");

        let next = scene.ada_asks("x-nothing", "1").await;
        assert_eq!((next.status, next.header("x-trap-plugin")), (200, Some("passed")), "after {failure}");
        let other = scene.eve_asks(failure, "1").await;
        assert_eq!((other.status, other.header("x-trap-plugin")), (200, None), "{failure} of another tenant");
    }
    let headers = [("authorization", format!("Bearer {}", scene.ada.token)), ("x-trap", "1".into())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let refused = ws::open(scene.edge.http, &format!("/theia/{}/services", scene.adas), &headers).await;
    assert_eq!(refused.expect_err("a socket is no way around").refusal(), (503, "PLUGIN_FAILED".into()));
    let metrics = scene.edge.metrics().await;
    let calls =
        |callback| metrics.sum("coditect_plugin_calls_total", &[("plugin", "used"), ("callback", callback)]);
    assert_eq!((calls("request_headers"), calls("response_headers")), (7.0, 3.0));
    assert!(metrics.sum("coditect_plugin_callback_seconds_count", &[("plugin", "used")]) >= 10.0);
    assert!(metrics.sum("coditect_plugin_callback_seconds_sum", &[("plugin", "used")]) > 0.0);
}

#[tokio::test]
async fn a_plugin_may_be_configured_to_fail_open() {
    let scene = Scene::set().await;
    scene.use_for_ada("trap", "failure = 'open'").await;
    assert_eq!(scene.ada_asks("x-trap", "1").await.text(), "hello from upstream");
    assert_eq!(scene.traps().await, 1.0);
}

#[tokio::test]
async fn a_plugin_sees_no_credentials() {
    let scene = Scene::set().await;
    let cookie = scene.edge.open_workspace(&scene.ada, &scene.adas).await;
    let policy = |header: &str, deny: &str| {
        format!("config = '{{\"header\": \"{header}\", \"deny_values\": [\"{deny}\"]}}'")
    };
    // The policy would refuse the value, if only it saw it.
    let bearer = format!("Bearer {}", scene.ada.token);
    scene.use_for_ada("tenant-policy", &policy("x-seen", &bearer)).await;
    assert_eq!(scene.ada_asks("x-seen", &bearer).await.refusal(), (403, "POLICY_DENIED".into()));
    scene.use_for_ada("tenant-policy", &policy("authorization", &bearer)).await;
    assert_eq!(scene.ada_asks("x-seen", &bearer).await.status, 200);
    scene.use_for_ada("tenant-policy", &policy("cookie", &cookie)).await;
    let page = Request::get(&format!("/theia/{}/x", scene.adas)).cookie(&cookie);
    assert_eq!(scene.edge.send(page).await.status, 200);
    scene.use_for_ada("tenant-policy", &policy("cookie", "mine=1")).await;
    let page = Request::get(&format!("/theia/{}/x", scene.adas)).cookie(&format!("mine=1; {cookie}"));
    assert_eq!(
        scene.edge.send(page).await.status,
        403,
        "of several cookies it sees those that are not the edge's"
    );
}

#[tokio::test]
async fn a_policy_cannot_be_slipped_past_with_an_upgrade_header() {
    let scene = Scene::set().await;
    scene.use_for_ada("tenant-policy", r#"config = '{"deny_values": ["blocked"]}'"#).await;
    let target = format!("/theia/{}/services", scene.adas);
    for protocol in ["x", "h2c", "websocket"] {
        let request = Request::get(&target).bearer(&scene.ada.token).header("connection", "Upgrade");
        let request = request.header("upgrade", protocol).header("x-coditect-region", "blocked");
        assert_eq!(
            scene.edge.send(request).await.refusal(),
            (403, "POLICY_DENIED".into()),
            "Upgrade: {protocol}"
        );
    }
    let bearer = format!("Bearer {}", scene.ada.token);
    let headers = [("authorization", bearer.as_str()), ("x-coditect-region", "blocked")];
    let refused = ws::open(scene.edge.http, &target, &headers).await.expect_err("the policy refuses");
    assert_eq!(refused.refusal(), (403, "POLICY_DENIED".into()));
    assert_eq!(scene.theia.count(), 0);
    let passed = ws::open(scene.edge.http, &target, &headers[..1]).await.expect("the policy lets it pass");
    let marked =
        passed.headers.iter().any(|(name, value)| name == "x-policy-plugin" && value == "tenant-policy");
    assert!(marked, "the response phase runs on the 101 too: {:?}", passed.headers);
    assert_eq!(scene.theia.last().all("x-policy").len(), 1, "and the request phase on the handshake");
}

#[tokio::test]
async fn a_bad_plugin_leaves_the_old_configuration_at_work() {
    let scene = Scene::set().await;
    scene.use_for_ada("tenant-policy", r#"config = '{"deny_values": ["blocked"]}'"#).await;
    let bad = scene.edge.data().path().join("bad.wasm");
    std::fs::write(&bad, "this is no module").unwrap();
    let module = scene.for_ada(scene.config.clone().plugin_file("used", &bad, ""));
    let refused_by_itself = r#"config = '{"deny_valeus": []}'"#;
    let configured = scene.for_ada(scene.config.clone().plugin("used", "tenant-policy", refused_by_itself));
    let missing =
        scene.config.clone().route("/theia", &format!("{THEIA}\nplugins = [{{ plugin = 'none' }}]"));
    for (what, config) in
        [("no module", module), ("a bad configuration", configured), ("no such plugin", missing)]
    {
        assert!(!scene.edge.reload(&config).await, "{what} is refused");
        let denied = scene.ada_asks("x-coditect-region", "blocked").await;
        assert_eq!(denied.refusal(), (403, "POLICY_DENIED".into()), "{what}: the old policy works on");
    }
    let refused = scene.edge.metrics().await.sum("coditect_config_reloads_total", &[("result", "refused")]);
    assert_eq!(refused, 3.0);
    assert!(scene.edge.stderr().contains("the old one goes on"), "and the log says so");
}

#[tokio::test]
async fn requests_without_a_tenant_are_publics() {
    let v2 = Upstream::start(|_| Answer::ok("v2")).await;
    let config = Config::empty()
        .upstream("v2", v2.address)
        .plugin("policy", "tenant-policy", r#"config = '{"deny_path_prefixes": ["/api/admin"]}'"#)
        .route("/api", "upstream = 'v2'\nauth = 'public'\nplugins = [{ plugin = 'policy' }]");
    let edge = Edge::start(&config).await;
    let passed = edge.send(Request::get("/api/x").header("x-policy", "forged")).await;
    assert_eq!((passed.status, passed.header("x-policy-plugin")), (200, Some("tenant-policy")));
    assert_eq!(v2.last().all("x-policy"), ["public;region=none"]);
    for path in ["/api/admin", "/api/admin/users", "/api/admin?x=1"] {
        assert_eq!(edge.get(path).await.refusal(), (403, "POLICY_DENIED".into()), "{path}");
    }
    assert_eq!(edge.get("/api/administer").await.status, 200);
}

#[tokio::test]
async fn a_plugin_sees_no_authorization_even_where_the_upstream_does() {
    let v2 = Upstream::start(|_| Answer::ok("v2")).await;
    let config = Config::empty()
        .upstream("v2", v2.address)
        .plugin("policy", "tenant-policy", r#"config = '{"header": "authorization", "deny_values": ["Bearer v2"]}'"#)
        .route("/", "upstream = 'v2'\nauth = 'public'\nforward_authorization = true\nplugins = [{ plugin = 'policy' }]");
    let edge = Edge::start(&config).await;
    assert_eq!(edge.send(Request::get("/").bearer("v2")).await.status, 200);
    assert_eq!(v2.last().all("authorization"), ["Bearer v2"]);
}

#[tokio::test]
async fn a_plugin_that_keeps_failing_is_kept_out_until_an_operator_lifts_it() {
    let scene = Scene::set().await;
    let config = scene.for_ada(scene.config.clone().plugin("used", "trap", "quarantine_traps = 3"));
    assert!(scene.edge.reload(&config).await, "{}", scene.edge.stderr());
    for _ in 0..3 {
        assert_eq!(scene.ada_asks("x-trap", "1").await.refusal(), (503, "PLUGIN_FAILED".into()));
    }
    let refused = scene.ada_asks("x-nothing", "1").await;
    assert_eq!(refused.refusal(), (503, "PLUGIN_FAILED".into()), "what would have passed is refused");
    let metrics = scene.edge.metrics().await;
    let of_used = |name| metrics.sum(name, &[("plugin", "used")]);
    assert!((of_used("coditect_plugin_quarantined") - 1.0).abs() < f64::EPSILON, "one tenant");
    assert!(of_used("coditect_plugin_refused_in_quarantine_total") >= 1.0);
    assert!((scene.traps().await - 3.0).abs() < f64::EPSILON, "the guest did not run again");

    assert!(scene.edge.reload(&config).await, "{}", scene.edge.stderr());
    let lifted = scene.ada_asks("x-nothing", "1").await;
    assert_eq!((lifted.status, lifted.header("x-trap-plugin")), (200, Some("passed")));
}
