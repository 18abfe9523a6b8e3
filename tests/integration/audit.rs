//! The audit trail through the real binary: sockets in it, `coditect-edge audit …` beside a running edge and without
//! one, damage, and signed heads.

use crate::support::config::Config;
use crate::support::edge::{Edge, binary};
use crate::support::{Account, DEADLINE, Upstream, wait_until, ws};
use coditect_auth::SystemEntropy;
use coditect_store::keyspace::path::from_path;
use coditect_store::{Embedded, EmbeddedOptions, Store, SystemMonotonicClock};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

/// Runs a command on the configuration in `data`.
fn edge_command(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("--config").arg(data.join("edge.toml")).args(arguments).env_clear();
    command.current_dir(data).output().unwrap()
}

/// What a command prints, that must end with this exit code.
#[track_caller]
fn told(data: &Path, code: i32, arguments: &[&str]) -> String {
    let output = edge_command(data, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {printed}{errors}");
    if code == 2 { errors.into_owned() } else { printed.into_owned() }
}

/// A tenant's entries, the oldest first.
fn trail(data: &Path, tenant: &str) -> Vec<Value> {
    let printed = told(data, 0, &["audit", "ls", "--json", "--limit", "1000", "--tenant", tenant]);
    let mut entries: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    entries.reverse();
    entries
}

/// What the trail says of sockets: action, where it went, and why it ended.
fn sockets(data: &Path, tenant: &str) -> Vec<(String, &'static str, String)> {
    let of_sockets = |entry: &&Value| entry["action"].as_str().unwrap().starts_with("socket.");
    trail(data, tenant)
        .iter()
        .filter(of_sockets)
        .map(|entry| {
            let kind = if entry["details"].get("terminal").is_some() { "terminal" } else { "theia" };
            let reason = entry["details"]["reason"].as_str().unwrap_or("").to_owned();
            (entry["action"].as_str().unwrap().to_owned(), kind, reason)
        })
        .collect()
}

/// An edge with a user, a socket to Theia, and one to a terminal.
async fn connected() -> (Edge, Upstream, Account, ws::Socket, ws::Socket) {
    let theia = Upstream::echo().await;
    let edge = Edge::start(&Config::standard(theia.address)).await;
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "engines").await;
    let cookie = edge.open_workspace(&ada, &workspace).await;
    let headers = [("cookie", cookie.as_str()), ("origin", &edge.origin())];
    let mut socket =
        ws::open(edge.http, &format!("/theia/{workspace}/services"), &headers).await.expect("it opens");
    socket.echo("hello").await;
    let target = edge.create_terminal(&ada, &workspace).await;
    let target = format!("{target}?token={}", ada.token);
    let terminal = ws::open(edge.http, &target, &[("origin", &edge.origin())]).await.expect("it opens");
    (edge, theia, ada, socket, terminal)
}

/// Waits until the trail tells of so many sockets' beginnings and ends.
async fn told_of(data: &Path, tenant: &str, entries: usize) {
    let enough = || (sockets(data, tenant).len() >= entries).then_some(());
    wait_until("the trail tells of the sockets", DEADLINE, enough).await;
}

#[tokio::test]
async fn the_trail_tells_of_sockets_while_the_edge_runs() {
    let (edge, _theia, ada, mut socket, mut terminal) = connected().await;
    let data = edge.data();
    let (data, tenant) = (data.path(), ada.tenant_id.as_str());
    told_of(data, tenant, 2).await;
    terminal.stream.close(None).await.unwrap();
    told_of(data, tenant, 3).await;
    edge.logout(&ada).await;
    socket.closed(DEADLINE).await;
    told_of(data, tenant, 4).await;
    let expected = [
        ("socket.attach", "theia", ""),
        ("socket.attach", "terminal", ""),
        ("socket.detach", "terminal", "client_closed"),
        ("socket.detach", "theia", "revoked"),
    ];
    assert_eq!(sockets(data, tenant), expected.map(|(a, k, r)| (a.to_owned(), k, r.to_owned())));
    let entries = trail(data, tenant);
    for (entry, seq) in entries.iter().zip(1..) {
        assert_eq!(entry["seq"], seq);
    }
    let last = entries.iter().rfind(|entry| entry["action"] == "socket.detach").unwrap();
    assert_eq!((&last["actor"], &last["address"]), (&json!(ada.user_id), &json!("127.0.0.1")));
    assert_eq!((&last["object"]["kind"], &last["details"]["route"]), (&json!("session"), &json!("/theia")));
    assert!(
        last["details"]["received"].as_u64().unwrap() > 0 && last["details"]["sent"].as_u64().unwrap() > 0
    );

    let verified: Value = serde_json::from_str(&told(data, 0, &["audit", "verify", "--json"])).unwrap();
    assert_eq!((&verified["problems"], &verified["trails"]), (&json!(0), &json!(1)), "{verified}");
    assert_eq!(verified["entries"], entries.len());
    assert!(told(data, 0, &["audit", "verify", "--tenant", tenant]).contains("0 problems"));
    let metrics = edge.metrics().await;
    assert!(metrics.sum("coditect_audit_entries_total", &[]) >= 4.0);
    assert!((metrics.sum("coditect_audit_dropped_total", &[])).abs() < f64::EPSILON);
    edge.stop().await;
}

#[tokio::test]
async fn a_drain_leaves_no_socket_without_its_end() {
    let (edge, _theia, ada, _socket, _terminal) = connected().await;
    told_of(edge.data().path(), &ada.tenant_id, 2).await;
    let data = edge.stop().await;
    let ends: Vec<_> = sockets(data.path(), &ada.tenant_id).split_off(2);
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert!(
        ends.iter().all(|(action, _, reason)| action == "socket.detach" && reason == "drained"),
        "{ends:?}"
    );
    told(data.path(), 0, &["audit", "verify"]);
}

/// Changes a stored value of an edge that does not run: given what is there, what shall be.
async fn tamper(data: &Path, path: &str, how: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
    let options = EmbeddedOptions::new(data.join("store.redb"));
    let backend = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
    let store = Store::new(Arc::new(backend), Arc::new(SystemEntropy));
    let key = from_path(path).unwrap();
    let transaction = store.begin();
    let stored = transaction.get(&key).await.unwrap().unwrap_or_default();
    match how(stored.to_vec()) {
        Some(value) => transaction.set(key, value).unwrap(),
        None => transaction.clear(key).unwrap(),
    }
    transaction.commit().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_was_done_to_a_stored_trail_is_named() {
    let (edge, _theia, ada, _socket, _terminal) = connected().await;
    told_of(edge.data().path(), &ada.tenant_id, 2).await;
    let data = edge.stop().await;
    let (data, tenant) = (data.path(), ada.tenant_id.as_str());
    let entries = trail(data, tenant);
    let heads = told(data, 0, &["audit", "head", "--output", "heads.json"]);
    assert!(heads.contains("heads.json"), "{heads}");
    assert_eq!(fs::metadata(data.join("heads.json")).unwrap().permissions().mode() & 0o777, 0o600);
    told(data, 0, &["audit", "verify", "--heads", "heads.json"]);
    let key: Value = serde_json::from_str(&told(data, 0, &["audit", "key", "--json"])).unwrap();
    let key = key["public_key"].as_str().unwrap();
    told(data, 0, &["audit", "verify", "--heads", "heads.json", "--public-key", key]);

    // One byte of one entry.
    let changed = entries.iter().find(|entry| entry["action"] == "socket.attach").unwrap();
    let path = |entry: &Value| {
        format!("/coditect/tenant/{tenant}/audit/{}/{}", entry["at"], entry["id"].as_str().unwrap())
    };
    let exchange = |from: &'static str, to: &'static str| {
        move |value: Vec<u8>| {
            let text = String::from_utf8(value).unwrap();
            assert!(text.contains(from), "{text}");
            Some(text.replace(from, to).into_bytes())
        }
    };
    tamper(data, &path(changed), exchange("127.0.0.1", "127.0.0.2")).await;
    let found = told(data, 1, &["audit", "verify"]);
    assert!(found.contains(&format!("tenant {tenant}, entry {}: it was changed", changed["seq"])), "{found}");
    tamper(data, &path(changed), exchange("127.0.0.2", "127.0.0.1")).await;
    told(data, 0, &["audit", "verify"]);

    // The tail, and the record of where it ends.
    let (last, before) = (entries.last().unwrap(), &entries[entries.len() - 2]);
    tamper(data, &path(last), |_| None).await;
    let found = told(data, 1, &["audit", "verify"]);
    assert!(found.contains("the tail was cut off"), "{found}");
    for (family, middle) in [
        ("audit_by_actor", ada.user_id.clone()),
        ("audit_by_object", format!("session/text:{}", last["object"]["id"].as_str().unwrap())),
    ] {
        let place = format!("{}/{}", last["at"], last["id"].as_str().unwrap());
        tamper(data, &format!("/coditect/tenant/{tenant}/{family}/{middle}/{place}"), |_| None).await;
    }
    let head = format!(
        "\u{1}{{\"tenant_id\":\"{tenant}\",\"seq\":{},\"hash\":{},\"at\":{}}}",
        before["seq"], before["hash"], before["at"]
    );
    tamper(data, &format!("/coditect/tenant/{tenant}/audit_head"), |_| Some(head.into_bytes())).await;
    let clean = told(data, 0, &["audit", "verify"]);
    assert!(clean.contains("held against no signed heads"), "{clean}");
    let found = told(data, 1, &["audit", "verify", "--heads", "heads.json"]);
    let names = format!("a signed head names entry {}, the last one there is {}", last["seq"], before["seq"]);
    assert!(found.contains(&names), "{found}");

    // Heads that were changed themselves, and a key that is another.
    let text = fs::read_to_string(data.join("heads.json")).unwrap();
    fs::write(data.join("forged.json"), text.replace("\"at\": ", "\"at\": 1")).unwrap();
    let refused = told(data, 2, &["audit", "verify", "--heads", "forged.json"]);
    assert!(refused.contains("the signature of the heads is wrong"), "{refused}");
    fs::remove_file(data.join("audit.key")).unwrap();
    told(data, 0, &["audit", "key"]);
    let refused = told(data, 2, &["audit", "verify", "--heads", "heads.json"]);
    assert!(refused.contains("--public-key"), "{refused}");
    told(data, 1, &["audit", "verify", "--heads", "heads.json", "--public-key", key]);
}

#[tokio::test]
async fn backups_and_exports_come_with_signed_heads() {
    let (edge, _theia, ada, _socket, _terminal) = connected().await;
    let data = edge.data();
    told_of(data.path(), &ada.tenant_id, 2).await;
    for (command, file) in [("backup", "copy.redb"), ("export", "state.export")] {
        let said = told(data.path(), 0, &["store", command, file]);
        let heads = format!("{file}.audit-heads.json");
        assert!(said.contains(&heads), "{said}");
        told(data.path(), 0, &["audit", "verify", "--heads", &heads]);
    }
    let printed: Value = serde_json::from_str(&told(data.path(), 0, &["audit", "head"])).unwrap();
    let operators = "00000000-0000-0000-0000-000000000000";
    let tenants: Vec<_> = printed["heads"].as_array().unwrap().iter().map(|head| &head["tenant"]).collect();
    assert_eq!(tenants.len(), 2, "{printed}");
    assert!(tenants.contains(&&json!(operators)) && tenants.contains(&&json!(ada.tenant_id)));
    let exported = trail(data.path(), operators);
    assert_eq!(exported.last().unwrap()["action"], "audit.head", "that they were given out is told");
    edge.stop().await;
}
