//! Key sets on the real binary: `coditect-edge keys …`, the published keys, and rotation while the edge serves.

use crate::support::edge::binary;
use crate::support::{Account, Config, DEADLINE, Edge, Request, Response, wait_for, wait_until};
use coditect_auth::Claims;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use tempfile::TempDir;

const JWKS: &str = "/.well-known/jwks.json";

fn standard() -> Config {
    Config::standard("127.0.0.1:1".parse().unwrap())
}

fn with_set() -> Config {
    standard().auth("key_set = 'keys.json'")
}

fn folder() -> Arc<TempDir> {
    Arc::new(tempfile::Builder::new().prefix("coditect-edge-test-").tempdir().unwrap())
}

/// Runs a command on the key set in `data`.
fn keys(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(["keys", "--file", "keys.json"]).args(arguments).env_clear().current_dir(data);
    command.output().unwrap()
}

/// What a command that must succeed prints.
#[track_caller]
fn told(data: &Path, arguments: &[&str]) -> String {
    let output = keys(data, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command says that must fail with this exit code.
#[track_caller]
fn refused(data: &Path, code: i32, arguments: &[&str]) -> String {
    let output = keys(data, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    errors
}

/// Ids and states, in order.
fn listed(data: &Path) -> Vec<(String, String)> {
    let list: Value = serde_json::from_str(&told(data, &["list", "--json"])).unwrap();
    let text = |key: &Value, member: &str| key[member].as_str().unwrap().to_owned();
    let keys = list["keys"].as_array().unwrap();
    keys.iter().map(|key| (text(key, "kid"), text(key, "state"))).collect()
}

fn kid_of(token: &str) -> Option<String> {
    decode_header(token).unwrap().kid
}

async fn published(edge: &Edge) -> JwkSet {
    let answer = edge.get(JWKS).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap()
}

fn kids(set: &JwkSet) -> Vec<String> {
    set.keys.iter().map(|key| key.common.key_id.clone().unwrap()).collect()
}

/// What another service reads from a token, with nothing but the published keys.
fn read_by_others(set: &JwkSet, token: &str) -> Claims {
    let header = decode_header(token).unwrap();
    let jwk = set.find(&header.kid.unwrap()).expect("the token's key is published");
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&["coditect-users"]);
    validation.set_issuer(&["coditect.ai"]);
    decode::<Claims>(token, &DecodingKey::from_jwk(jwk).unwrap(), &validation).unwrap().claims
}

async fn ask(edge: &Edge, account: &Account) -> Response {
    edge.get_as(account, "/api/v5/sessions").await
}

fn invalid() -> (u16, String) {
    (401, "INVALID_TOKEN".into())
}

#[test]
fn the_commands_make_show_and_change_a_set_and_never_print_a_secret() {
    let data = folder();
    let data = data.path();
    assert!(refused(data, 1, &["list"]).contains("keys init"), "it says how to make one");
    refused(data, 1, &["rotate"]);
    let made = told(data, &["init"]);
    assert!(made.contains("key_set = \"keys.json\""), "it says how to use it: {made}");
    let file = data.join("keys.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(refused(data, 2, &["init"]).contains("not overwritten"));

    let [(first, state)] = <[_; 1]>::try_from(listed(data)).unwrap();
    assert_eq!(state, "signing");
    assert!(refused(data, 2, &["rotate", "--overlap", "1h"]).contains("family_seconds"));
    refused(data, 2, &["rotate", "--overlap", "soon"]);
    refused(data, 2, &["rotate", "--algorithm", "HS256"]);
    told(data, &["rotate", "--algorithm", "RS256"]);
    let second = listed(data)[1].clone();
    assert_eq!((listed(data)[0].clone(), second.1.as_str()), ((first.clone(), "signing".into()), "next"));
    assert!(refused(data, 2, &["rotate"]).contains(&second.0), "one waits already");
    let jwks: JwkSet = serde_json::from_str(&told(data, &["jwks"])).unwrap();
    assert_eq!(kids(&jwks), [first.clone(), second.0.clone()]);

    let stored: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let secrets = ["d", "p", "q", "dp", "dq", "qi"].map(|member| {
        let of = |key: &Value| key[member].as_str().map(str::to_owned);
        stored["keys"].as_array().unwrap().iter().filter_map(of).collect::<Vec<_>>()
    });
    assert_eq!(secrets.iter().map(Vec::len).sum::<usize>(), 7, "two private keys");
    let all =
        [&["list"][..], &["list", "--json"], &["jwks"], &["jwks", "--json"]].map(|args| told(data, args));
    for secret in secrets.iter().flatten() {
        assert!(!all.concat().contains(secret.as_str()));
    }

    assert!(refused(data, 1, &["retire", "-none"]).contains("-none"), "ids may begin with a hyphen");
    told(data, &["retire", &first]);
    assert_eq!(listed(data), [(second.0.clone(), "signing".into())]);
    told(data, &["retire", &second.0, "--json"]);
    assert_eq!(listed(data).len(), 1, "a new one in its place");
    assert_ne!(listed(data)[0].0, second.0);

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(data, 2, &["list"]).contains("chmod 600"));
    fs::write(&file, "{").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(refused(data, 2, &["list"]).contains("not a key set"));
    let unnamed =
        Command::new(binary()).args(["keys", "list"]).env_clear().current_dir(data).output().unwrap();
    assert_eq!(unnamed.status.code(), Some(2), "no set is configured unless one is named");
}

#[tokio::test]
async fn others_verify_our_tokens_with_the_published_keys() {
    let data = folder();
    told(data.path(), &["init"]);
    let edge = Edge::start_on(Arc::clone(&data), &with_set()).await;
    assert!(!data.path().join("signing.key").exists(), "no secret is made beside a key set");
    let ada = edge.register("ada@example.com").await;
    let claims = read_by_others(&published(&edge).await, &ada.token);
    assert_eq!(claims.sub.to_string(), ada.user_id);
    for method in ["GET", "HEAD"] {
        let answer = edge.send(Request::new(method, JWKS)).await;
        assert_eq!((answer.status, answer.text().is_empty()), (200, method == "HEAD"));
        assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    }
    let text = edge.get(JWKS).await.text();
    assert!(!text.contains("\"d\"") && !text.contains("\"oct\""), "{text}");

    let secret = Edge::start(&standard()).await;
    assert_eq!(secret.get(JWKS).await.refusal(), (404, "NOT_FOUND".into()), "a secret has no public half");
}

#[tokio::test]
async fn a_rotation_ends_no_login_and_a_retired_key_ends_its_tokens() {
    let data = folder();
    told(data.path(), &["init"]);
    let edge = Edge::start_on(Arc::clone(&data), &with_set()).await;
    let ada = edge.register("ada@example.com").await;
    assert_eq!(ask(&edge, &ada).await.status, 200);

    told(data.path(), &["rotate", "--algorithm", "RS256", "--activate-after", "0s"]);
    let jwks = wait_for("the new key is published", DEADLINE, async || {
        let jwks = published(&edge).await;
        (jwks.keys.len() == 2).then_some(jwks)
    })
    .await;
    let new = edge.login("ada@example.com").await;
    assert_eq!(kids(&jwks), [kid_of(&ada.token).unwrap(), kid_of(&new.token).unwrap()]);
    for account in [&ada, &new] {
        assert_eq!(ask(&edge, account).await.status, 200);
        read_by_others(&jwks, &account.token);
    }
    let body = serde_json::json!({ "refreshToken": ada.refresh_token });
    let refreshed = edge.send(Request::post("/api/v5/auth/refresh", &body)).await.data(200);
    assert_eq!(
        kid_of(refreshed["token"].as_str().unwrap()),
        kid_of(&new.token),
        "the old key's refresh token is good"
    );

    // What cannot be read changes nothing.
    let file = data.path().join("keys.json");
    let good = fs::read(&file).unwrap();
    fs::write(&file, "{").unwrap();
    wait_until("the refusal is logged", DEADLINE, || {
        edge.stderr().contains("the key set was refused").then_some(())
    })
    .await;
    assert_eq!((ask(&edge, &ada).await.status, ask(&edge, &new).await.status), (200, 200));
    fs::write(&file, good).unwrap();

    told(data.path(), &["retire", &kid_of(&ada.token).unwrap()]);
    edge.signal(rustix::process::Signal::HUP);
    wait_for("the retired key's tokens are refused", DEADLINE, async || {
        (ask(&edge, &ada).await.status != 200).then_some(())
    })
    .await;
    assert_eq!(ask(&edge, &ada).await.refusal(), invalid());
    assert_eq!(ask(&edge, &new).await.status, 200);
    assert_eq!(kids(&published(&edge).await), [kid_of(&new.token).unwrap()]);
    assert!(edge.stderr().contains("key set taken"));
}

#[tokio::test]
async fn a_deployment_moves_from_a_secret_to_a_key_set_without_ending_a_login() {
    let before = Edge::start(&standard()).await;
    let ada = before.register("ada@example.com").await;
    let data = before.stop().await;
    told(data.path(), &["init"]);

    let edge = Edge::start_on(Arc::clone(&data), &with_set()).await;
    assert!(edge.stdout().contains("is still good"), "the start says so: {}", edge.stdout());
    assert_eq!(ask(&edge, &ada).await.status, 200);
    let body = serde_json::json!({ "refreshToken": ada.refresh_token });
    let refreshed = edge.send(Request::post("/api/v5/auth/refresh", &body)).await.data(200);
    assert!(kid_of(&ada.token).is_none() && kid_of(refreshed["token"].as_str().unwrap()).is_some());
    let new = edge.login("ada@example.com").await;
    edge.stop().await;

    fs::remove_file(data.path().join("signing.key")).unwrap();
    let edge = Edge::start_on(Arc::clone(&data), &with_set()).await;
    assert_eq!(ask(&edge, &ada).await.refusal(), invalid(), "the secret is gone");
    assert_eq!(ask(&edge, &new).await.status, 200);
}
