//! Plugins: what is uploaded, tried out, put to work, and by whom. The host is a stand-in.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use coditect_api::{MAX_VALIDATIONS, ModuleFacts, PluginRefusal, PluginTrial, PluginValidator};
use coditect_store::Order;
use coditect_store::blobs::BlobHash;
use coditect_store::records::Role;
use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered, StreamExt};
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::support::{Answer, Api};

/// Does with a plugin what its module or its configuration says, and remembers it.
pub(crate) struct Stub {
    trials: Mutex<Vec<PluginTrial>>,
    /// Trials of modules that are slow wait for one of these.
    released: Arc<Semaphore>,
}

impl Default for Stub {
    fn default() -> Self {
        Self { trials: Mutex::default(), released: Arc::new(Semaphore::new(0)) }
    }
}

impl PluginValidator for Stub {
    fn validate(&self, trial: PluginTrial) -> BoxFuture<'static, Result<ModuleFacts, PluginRefusal>> {
        self.trials.lock().unwrap().push(trial.clone());
        let released = Arc::clone(&self.released);
        Box::pin(async move {
            match &trial.module[8..] {
                b"slow" => released.acquire_owned().await.unwrap().forget(),
                b"bad" => return Err(PluginRefusal::Refused("unknown import `env.nonsense`".into())),
                b"panic" => panic!("the trial panics"),
                _ => {}
            }
            if trial.configuration.as_deref() == Some(b"bad") {
                return Err(PluginRefusal::Refused("`proxy_on_configure` refused it".into()));
            }
            Ok(ModuleFacts { abi: "0.2.1".into(), imports: vec!["env.proxy_log".into()] })
        })
    }
}

impl Stub {
    fn count(&self) -> usize {
        self.trials.lock().unwrap().len()
    }

    async fn until(&self, count: usize) {
        while self.count() < count {
            tokio::task::yield_now().await;
        }
    }
}

/// A module for the stand-in.
fn module(kind: &str) -> Vec<u8> {
    [b"\0asm\x01\0\0\0", kind.as_bytes()].concat()
}

async fn send(
    api: &Api,
    token: &str,
    method: Method,
    path: &str,
    body: Body,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = Request::builder().method(method).uri(format!("/api/v5/plugins{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(body).unwrap();
    request.extensions_mut().insert(api.admit(token).await.unwrap());
    api.raw(request).await
}

async fn upload(api: &Api, token: &str, name: &str, kind: &str) -> Answer {
    let (path, body) = (format!("/{name}/versions"), Body::from(module(kind)));
    send(api, token, Method::POST, &path, body, &[("content-type", "application/wasm")]).await
}

async fn post(api: &Api, token: &str, path: &str, body: Value) -> Answer {
    let body = Body::from(body.to_string());
    send(api, token, Method::POST, path, body, &[("content-type", "application/json")]).await
}

async fn get(api: &Api, token: &str, path: &str) -> Answer {
    send(api, token, Method::GET, path, Body::empty(), &[]).await
}

async fn delete(api: &Api, token: &str, path: &str) -> Answer {
    send(api, token, Method::DELETE, path, Body::empty(), &[]).await
}

/// A registered owner: token, tenant and user.
async fn owner(api: &Api, email: &str) -> (String, Uuid, Uuid) {
    let token = api.register(email).await.text("token");
    let claims = api.admit(&token).await.unwrap().claims;
    (token, claims.tenant_id, claims.sub)
}

/// What was done in a tenant, as its trail has it: action and plugin, sorted, since the clock stands still.
async fn trail(api: &Api, tenant: Uuid) -> Vec<(String, String)> {
    let page = api.repositories.audit().list(tenant, None, Order::OldestFirst, 100).await.unwrap();
    let entries = page.items.into_iter().filter(|entry| entry.action.starts_with("plugin."));
    let mut done: Vec<_> = entries.map(|entry| (entry.action, entry.object.id)).collect();
    done.sort();
    done
}

#[tokio::test]
async fn a_plugin_is_uploaded_read_and_removed() {
    let api = Api::new();
    let (token, tenant, user) = owner(&api, "ann@example.com").await;
    let first = upload(&api, &token, "rate-limit", "one").await;
    assert_eq!((first.status.as_u16(), first.header("etag")), (201, "\"1\""), "{}", first.body);
    let shown = first.data();
    assert_eq!((&shown["version"], &shown["size"], &shown["abi"]), (&json!(1), &json!(11), &json!("0.2.1")));
    assert_eq!(shown["imports"], json!(["env.proxy_log"]));
    assert_eq!(shown["uploaded_by"], json!(user));
    let again = upload(&api, &token, "rate-limit", "one").await;
    assert_eq!((again.status.as_u16(), again.header("etag")), (200, "\"1\""));
    let noted = send(
        &api,
        &token,
        Method::POST,
        "/rate-limit/versions?note=slower%20refill",
        Body::from(module("two")),
        &[("content-type", "application/wasm"), ("if-match", "\"1\"")],
    );
    assert_eq!(noted.await.data()["note"], "slower refill");

    let list = get(&api, &token, "").await;
    assert_eq!(list.data().as_array().unwrap().len(), 1);
    assert_eq!(list.body["next_cursor"], Value::Null);
    let plugin = get(&api, &token, "/rate-limit").await;
    assert_eq!(plugin.header("etag"), "\"2\"");
    let shown = plugin.data();
    assert_eq!((&shown["latest_version"], &shown["versions"]), (&json!(2), &json!(2)));
    assert_eq!((&shown["module_bytes"], &shown["active"]), (&json!(22), &json!([])));
    let versions = get(&api, &token, "/rate-limit/versions").await;
    let numbers: Vec<_> = versions.data().as_array().unwrap().iter().map(|v| v["version"].clone()).collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!(get(&api, &token, "/rate-limit/versions/1").await.data()["sha256"], first.data()["sha256"]);

    let mut request =
        Request::get("/api/v5/plugins/rate-limit/versions/1/module").body(Body::empty()).unwrap();
    request.extensions_mut().insert(api.admit(&token).await.unwrap());
    let response = api.response(request).await;
    assert_eq!(response.headers()["content-type"], "application/wasm");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(response.headers()["content-disposition"], "attachment");
    assert_eq!(response.headers()["etag"], format!("\"{}\"", first.text("sha256")));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), module("one"));

    for path in
        ["/nothing", "/rate-limit/versions/3", "/rate-limit/versions/01", "/Rate/versions", "/x/activations"]
    {
        get(&api, &token, path).await.refused(404, "NOT_FOUND");
    }
    assert_eq!(delete(&api, &token, "/rate-limit/versions/1").await.status, 200);
    let stale = [("if-match", "\"2\"")];
    let stale = send(&api, &token, Method::DELETE, "/rate-limit", Body::empty(), &stale).await;
    stale.refused(412, "PRECONDITION_FAILED");
    assert_eq!(delete(&api, &token, "/rate-limit").await.status, 200);
    get(&api, &token, "/rate-limit").await.refused(404, "NOT_FOUND");
    let done = ["plugin.delete", "plugin.delete", "plugin.upload", "plugin.upload"];
    let expected: Vec<_> = done.iter().map(|done| ((*done).to_owned(), "rate-limit".to_owned())).collect();
    assert_eq!(trail(&api, tenant).await, expected);
}

#[tokio::test]
async fn a_version_is_put_to_work_rolled_back_and_taken_out() {
    let api = Api::new();
    let (token, tenant, _) = owner(&api, "ann@example.com").await;
    upload(&api, &token, "p", "one").await;
    upload(&api, &token, "p", "two").await;
    let body = json!({"version": 1, "configuration": {"limit": 5}, "fail": "open", "sharePercent": 10,
        "shadow": true, "rootId": "r", "order": 7});
    let first = post(&api, &token, "/p/activate", body).await;
    assert_eq!((first.status.as_u16(), first.header("etag")), (200, "\"3\""), "{}", first.body);
    let shown = first.data();
    assert_eq!(
        (&shown["activation"], &shown["version"], &shown["fail"]),
        (&json!(1), &json!(1), &json!("open"))
    );
    assert_eq!((&shown["configuration"], &shown["order"]), (&json!("{\"limit\":5}"), &json!(7)));
    assert_eq!(
        (&shown["share_percent"], &shown["shadow"], &shown["root_id"]),
        (&json!(10), &json!(true), &json!("r"))
    );
    assert!(shown.get("ended").is_none() && shown.get("route").is_none());
    let tried = api.validator.trials.lock().unwrap().last().unwrap().clone();
    assert_eq!(tried.configuration.as_deref(), Some(br#"{"limit":5}"#.as_slice()));
    assert_eq!((tried.root_id.as_str(), &tried.module[..]), ("r", &module("one")[..]));

    let second =
        post(&api, &token, "/p/activate", json!({"version": 2, "configurationBase64": "/wA="})).await;
    assert_eq!(second.data()["configuration_base64"], "/wA=");
    assert_eq!(second.data()["previous"], 1);
    post(&api, &token, "/p/activate", json!({"version": 2, "route": "/theia"})).await.data();
    let plugin = get(&api, &token, "/p").await;
    let active: Vec<_> =
        plugin.data()["active"].as_array().unwrap().iter().map(|a| a["activation"].clone()).collect();
    assert_eq!(active, [2, 3]);
    assert_eq!(get(&api, &token, "").await.data()[0]["active"], plugin.data()["active"]);
    delete(&api, &token, "/p").await.refused(409, "CONFLICT");
    delete(&api, &token, "/p/versions/2").await.refused(409, "CONFLICT");

    let trials = api.validator.count();
    let back = send(&api, &token, Method::POST, "/p/rollback", Body::empty(), &[]).await;
    assert_eq!((&back.data()["version"], &back.data()["restores"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&back.data()["configuration"], &back.data()["fail"]),
        (&json!("{\"limit\":5}"), &json!("open"))
    );
    assert_eq!(api.validator.count(), trials, "a roll-back waits for no trial");
    let message = post(&api, &token, "/p/rollback", json!({})).await.refused(409, "CONFLICT");
    assert_eq!(message, "there is nothing to roll back to");
    let ended = post(&api, &token, "/p/deactivate", json!({"route": "/theia"})).await;
    assert!(ended.data()["ended"]["at"].is_string() && ended.data()["ended"].get("replaced_by").is_none());
    post(&api, &token, "/p/deactivate", json!({"route": "/theia"})).await.refused(409, "CONFLICT");

    let page = get(&api, &token, "/p/activations?limit=3").await;
    let numbers = |answer: &Answer| -> Vec<Value> {
        answer.data().as_array().unwrap().iter().map(|item| item["activation"].clone()).collect()
    };
    assert_eq!(numbers(&page), [4, 3, 2]);
    let cursor = page.body["next_cursor"].as_str().unwrap();
    let rest = get(&api, &token, &format!("/p/activations?limit=3&cursor={cursor}")).await;
    assert_eq!((numbers(&rest), &rest.body["next_cursor"]), (vec![json!(1)], &Value::Null));
    assert_eq!(rest.data()[0]["ended"]["replaced_by"], 2);

    let actions: Vec<_> = trail(&api, tenant).await.into_iter().map(|(action, _)| action).collect();
    let expected = ["activate", "activate", "activate", "activate", "deactivate", "upload", "upload"];
    assert_eq!(actions, expected.map(|action| format!("plugin.{action}")));
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_with_what_is_wrong() {
    let api = Api::new();
    let (token, ..) = owner(&api, "ann@example.com").await;
    let wasm = [("content-type", "application/wasm")];
    let try_body = |body: Body| send(&api, &token, Method::POST, "/p/versions", body, &wasm);
    for body in ["", "\0asm", "this is no module", "\0asm\u{2}\0\0\0"] {
        let message = try_body(Body::from(body)).await.refused(422, "PLUGIN_REFUSED");
        assert!(message.contains("no module in the WebAssembly binary format"), "{message}");
    }
    let mut large = module("");
    large.resize((16 << 20) + 1, 0);
    try_body(Body::from(large.clone())).await.refused(413, "PAYLOAD_TOO_LARGE");
    let pieces: Vec<_> =
        large.chunks(100_000).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
    try_body(Body::from_stream(stream::iter(pieces))).await.refused(413, "PAYLOAD_TOO_LARGE");
    let broken = [Ok(Bytes::from(module(""))), Err(std::io::Error::other("it broke"))];
    try_body(Body::from_stream(stream::iter(broken))).await.refused(400, "BAD_REQUEST");
    let json = [("content-type", "application/json")];
    let typed = send(&api, &token, Method::POST, "/p/versions", Body::from(module("one")), &json).await;
    typed.refused(415, "UNSUPPORTED_MEDIA_TYPE");
    let named = upload(&api, &token, "Upper", "one").await.refused(422, "VALIDATION_FAILED");
    assert!(named.starts_with("name: "), "{named}");
    assert_eq!(api.validator.count(), 0, "none of these was worth a trial");
    let message = upload(&api, &token, "p", "bad").await.refused(422, "PLUGIN_REFUSED");
    assert_eq!(message, "the plugin is refused: unknown import `env.nonsense`");
    upload(&api, &token, "p", "panic").await.refused(500, "INTERNAL");
    get(&api, &token, "/p").await.refused(404, "NOT_FOUND");

    upload(&api, &token, "p", "one").await.data();
    for (body, code, beginning) in [
        (
            json!({"version": 1, "configuration": "bad"}),
            "PLUGIN_REFUSED",
            "the plugin is refused: `proxy_on_",
        ),
        (json!({"version": 2}), "VALIDATION_FAILED", "version: "),
        (json!({"version": 0}), "VALIDATION_FAILED", "version: "),
        (json!({}), "VALIDATION_FAILED", "version: "),
        (json!({"version": 1, "sharePercent": 0}), "VALIDATION_FAILED", "sharePercent: "),
        (json!({"version": 1, "sharePercent": 101}), "VALIDATION_FAILED", "sharePercent: "),
        (json!({"version": 1, "order": 1001}), "VALIDATION_FAILED", "order: "),
        (json!({"version": 1, "fail": "maybe"}), "VALIDATION_FAILED", "fail: "),
        (json!({"version": 1, "route": "theia"}), "VALIDATION_FAILED", "route: "),
        (json!({"version": 1, "tenantId": Uuid::from_u128(1)}), "VALIDATION_FAILED", "tenantId: "),
        (json!({"version": 1, "rootId": "r".repeat(257)}), "VALIDATION_FAILED", "rootId: "),
        (json!({"version": 1, "configuration": "x".repeat(65_537)}), "VALIDATION_FAILED", "configuration: "),
        (
            json!({"version": 1, "configuration": 1, "configurationBase64": ""}),
            "VALIDATION_FAILED",
            "configurationBase64: ",
        ),
        (json!({"version": 1, "share_percent": 5}), "VALIDATION_FAILED", "share_percent"),
    ] {
        let message = post(&api, &token, "/p/activate", body.clone()).await.refused(422, code);
        assert!(message.starts_with(beginning), "{body}: {message}");
    }
    post(&api, &token, "/q/activate", json!({"version": 1})).await.refused(404, "NOT_FOUND");
    assert_eq!(get(&api, &token, "/p").await.data()["active"], json!([]));
}

#[tokio::test]
async fn only_an_owner_manages_a_tenants_plugins_and_no_other_tenants() {
    let api = Api::new();
    let (ann, tenant, user) = owner(&api, "ann@example.com").await;
    let (eve, ..) = owner(&api, "eve@example.com").await;
    upload(&api, &ann, "p", "one").await.data();
    for answer in [
        get(&api, &eve, "/p").await,
        get(&api, &eve, "/p/versions").await,
        get(&api, &eve, "/p/versions/1").await,
        get(&api, &eve, "/p/versions/1/module").await,
        get(&api, &eve, "/p/activations").await,
        delete(&api, &eve, "/p").await,
        delete(&api, &eve, "/p/versions/1").await,
        post(&api, &eve, "/p/activate", json!({"version": 1})).await,
        post(&api, &eve, "/p/rollback", json!({})).await,
        post(&api, &eve, "/p/deactivate", json!({})).await,
    ] {
        answer.refused(404, "NOT_FOUND");
    }
    assert_eq!(get(&api, &eve, "").await.data(), &json!([]));
    for role in [Role::Member, Role::Admin] {
        api.repositories.users().update(tenant, user, None, |user| user.role = role).await.unwrap();
        get(&api, &ann, "").await.refused(403, "FORBIDDEN");
        upload(&api, &ann, "p", "two").await.refused(403, "FORBIDDEN");
        get(&api, &ann, "?scope=operators").await.refused(403, "FORBIDDEN");
    }
    api.repositories.users().update(tenant, user, None, |user| user.role = Role::Owner).await.unwrap();
    get(&api, &ann, "?scope=operators").await.refused(403, "FORBIDDEN");
    assert!(get(&api, &ann, "?scope=all").await.refused(422, "VALIDATION_FAILED").starts_with("scope: "));
    assert_eq!(get(&api, &ann, "").await.data().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn operators_manage_theirs_apart_from_every_tenants() {
    // Ids come from a seed, so the first tenant's is known beforehand.
    let (_, tenant, _) = owner(&Api::new(), "ops@example.com").await;
    let api = Api::operated_by(tenant);
    let (ops, same, user) = owner(&api, "ops@example.com").await;
    assert_eq!(same, tenant);
    let (ann, anns, _) = owner(&api, "ann@example.com").await;
    // An admin of the operators' tenant is an operator, and no owner.
    api.repositories.users().update(tenant, user, None, |user| user.role = Role::Admin).await.unwrap();
    upload(&api, &ops, "own", "one").await.refused(403, "FORBIDDEN");
    let wasm = [("content-type", "application/wasm")];
    let path = "/shared/versions?scope=operators";
    send(&api, &ops, Method::POST, path, Body::from(module("one")), &wasm).await.data();
    let body = json!({"version": 1, "tenantId": anns});
    let one = post(&api, &ops, "/shared/activate?scope=operators", body).await;
    assert_eq!(one.data()["tenant_id"], json!(anns));
    post(&api, &ops, "/shared/activate?scope=operators", json!({"version": 1})).await.data();
    let active = api.repositories.plugins().active(coditect_store::OPERATORS).await.unwrap();
    assert_eq!(active.len(), 2, "one for all and one for a tenant");
    get(&api, &ann, "/shared").await.refused(404, "NOT_FOUND");
    get(&api, &ann, "/shared?scope=operators").await.refused(403, "FORBIDDEN");
    let body = json!({"tenantId": anns});
    post(&api, &ops, "/shared/deactivate?scope=operators", body).await.data();
    assert_eq!(trail(&api, coditect_store::OPERATORS).await.len(), 4);
    assert!(trail(&api, tenant).await.is_empty());
}

#[tokio::test]
async fn a_tenant_is_tried_out_one_plugin_at_a_time_and_all_of_them_so_many() {
    let api = Arc::new(Api::new());
    let (ann, ..) = owner(&api, "ann@example.com").await;
    let (bob, ..) = owner(&api, "bob@example.com").await;
    let (eve, ..) = owner(&api, "eve@example.com").await;
    // As often as the server is busy: this machine may be so for longer than it waits.
    let spawn = |token: &str, name: &'static str, kind: &'static str| {
        let (api, token) = (Arc::clone(&api), token.to_owned());
        tokio::spawn(async move {
            loop {
                let answer = upload(&api, &token, name, kind).await;
                if answer.status != 503 {
                    return answer;
                }
            }
        })
    };
    let mut uploads = vec![spawn(&ann, "first", "slow")];
    api.validator.until(1).await;
    uploads.push(spawn(&ann, "second", "one"));
    upload(&api, &bob, "p", "one").await.data();
    assert_eq!(api.validator.count(), MAX_VALIDATIONS, "another tenant does not wait for this one's");
    uploads.push(spawn(&bob, "q", "slow"));
    api.validator.until(3).await;
    // Some wait for a place, and what is too much is refused before anything is done with the others.
    let mut waiting: FuturesUnordered<_> = (0..20).map(|_| upload(&api, &eve, "p", "one")).collect();
    let busy = waiting.next().await.unwrap();
    busy.refused(503, "OVERLOADED");
    assert_eq!(busy.header("retry-after"), "1");
    drop(waiting);
    let tried: Vec<_> = api.validator.trials.lock().unwrap().iter().map(|trial| trial.name.clone()).collect();
    assert_eq!(tried, ["first", "p", "q"]);
    uploads.push(spawn(&eve, "last", "one"));
    api.validator.released.add_permits(2);
    for upload in uploads {
        upload.await.unwrap().data();
    }
}

#[tokio::test]
async fn uploads_that_stall_have_a_budget() {
    let api = Api::new();
    let (ann, ..) = owner(&api, "ann@example.com").await;
    let (bob, ..) = owner(&api, "bob@example.com").await;
    let stalled = || {
        let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from(module("one")))]);
        let body = Body::from_stream(begun.chain(stream::pending()));
        send(&api, &ann, Method::POST, "/p/versions", body, &[("content-type", "application/wasm")])
    };
    // 64 MiB for a tenant, and 16 MiB for each whose length is not known.
    let mut uploads: FuturesUnordered<_> = (0..5).map(|_| stalled()).collect();
    uploads.next().await.unwrap().refused(503, "OVERLOADED");
    upload(&api, &bob, "p", "one").await.data();
    drop(uploads);
    upload(&api, &ann, "p", "one").await.data();
}

#[tokio::test]
async fn a_module_that_is_refused_is_not_stored() {
    let api = Api::new();
    let (token, tenant, _) = owner(&api, "ann@example.com").await;
    upload(&api, &token, "p", "bad").await.refused(422, "PLUGIN_REFUSED");
    let stale = [("content-type", "application/wasm"), ("if-match", "\"9\"")];
    let stale = send(&api, &token, Method::POST, "/p/versions", Body::from(module("two")), &stale).await;
    stale.refused(412, "PRECONDITION_FAILED");
    upload(&api, &token, "p", "one").await.data();
    for (kind, stored) in [("bad", false), ("two", false), ("one", true)] {
        let found = api.repositories.blobs().open(tenant, &BlobHash::of(&module(kind))).await.unwrap();
        assert_eq!(found.is_some(), stored, "{kind}");
    }
}
