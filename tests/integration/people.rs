//! `coditect-edge user …` and `tenant …` on the real binary, and what those who are concerned notice of it.

use crate::support::api::PASSWORD;
use crate::support::config::Config;
use crate::support::edge::{Edge, binary};
use crate::support::{Account, Answer, DEADLINE, Request, Upstream, wait_for, wait_until, ws};
use coditect_auth::SystemEntropy;
use coditect_store::keyspace::path::from_path;
use coditect_store::{Embedded, EmbeddedOptions, Store, SystemMonotonicClock};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The promise: within a second.
const SOON: Duration = Duration::from_secs(1);

fn standard() -> Config {
    Config::standard("127.0.0.1:1".parse().unwrap())
}

/// Runs a command on the configuration in `data`; its standard input is a pipe.
fn run(data: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(binary());
    command.arg("--config").arg(data.join("edge.toml")).args(arguments).env_clear().current_dir(data);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that asks for nothing may have ended by now.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

/// What a command that must succeed prints.
#[track_caller]
fn told(data: &Path, arguments: &[&str], input: &str) -> String {
    let output = run(data, arguments, input);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json_of(data: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&told(data, arguments, "")).unwrap()
}

/// What a command says that must fail with this exit code.
#[track_caller]
fn refused(data: &Path, code: i32, arguments: &[&str]) -> String {
    let output = run(data, arguments, "");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    errors
}

/// Everything the commands do to users, under names that begin with `prefix`.
fn manage_users(data: &Path, ada: &Account, prefix: &str) {
    let email = format!("{prefix}@example.com");
    let add = ["user", "add", &email, "--first-name", "Bob", "--last-name", "B", "--tenant", &ada.tenant_id];
    let stdin = [add.as_slice(), &["--password-stdin"]].concat();
    let added = told(data, &stdin, "a fine password\n");
    assert!(added.contains(&email) && !added.contains("fine"), "{added}");
    let taken = run(data, &stdin, "a fine password\n");
    assert_eq!(taken.status.code(), Some(1), "the address is taken");
    assert!(refused(data, 2, &add).contains("--password-stdin"), "nobody can be asked");
    let short = run(data, &stdin, "short\n");
    assert!(short.status.code() == Some(2) && String::from_utf8_lossy(&short.stderr).contains("8 to 128"));

    let shown = json_of(data, &["user", "show", &email, "--json"]);
    assert_eq!((&shown["role"], &shown["status"]), (&"member".into(), &"active".into()));
    assert!(!shown.to_string().contains("argon2"), "{shown}");
    let place = format!("{}/{}", ada.tenant_id, shown["id"].as_str().unwrap());
    assert!(told(data, &["user", "show", &place], "").contains(&email));
    let listed = told(data, &["user", "list", "--tenant", &ada.tenant_id], "");
    assert!(listed.contains(&place) && listed.contains("ada@example.com"), "{listed}");
    assert!(told(data, &["user", "list"], "").lines().count() >= 2);
    let limited = run(data, &["user", "list", "--limit", "1"], "");
    assert_eq!(String::from_utf8_lossy(&limited.stdout).lines().count(), 1);
    assert!(String::from_utf8_lossy(&limited.stderr).contains("--limit"));

    assert_eq!(json_of(data, &["user", "disable", &email, "--json"])["status"], "disabled");
    assert_eq!(json_of(data, &["user", "enable", &place, "--json"])["status"], "active");
    let made = json_of(data, &["user", "set-password", &email, "--generate", "--json"]);
    assert!(made["password"].as_str().unwrap().len() > 20, "{made}");
    assert!(refused(data, 1, &["user", "disable", "ada@example.com"]).contains("last owner"));
    for command in ["show", "disable", "enable"] {
        assert!(refused(data, 1, &["user", command, "nobody@example.com"]).contains("no user"));
    }
    let alone = [
        "user",
        "add",
        &format!("own-{email}"),
        "--first-name",
        "O",
        "--last-name",
        "P",
        "--generate",
        "--json",
    ];
    let alone = json_of(data, &alone);
    assert_eq!(alone["role"], "owner");
    assert_ne!(alone["tenant_id"], ada.tenant_id.as_str());
    let nowhere = "00000000-0000-4000-8000-000000000000";
    assert!(refused(data, 1, &["user", "list", "--tenant", nowhere]).contains("no tenant"));
}

#[tokio::test]
async fn the_commands_work_beside_a_running_edge_and_without_one() {
    let edge = Edge::start(&standard()).await;
    let ada = edge.register("ada@example.com").await;
    let data = edge.data();
    manage_users(data.path(), &ada, "running");
    let made = json_of(data.path(), &["user", "set-password", "running@example.com", "--generate", "--json"]);
    let body = json!({ "email": "running@example.com", "password": made["password"] });
    let login = edge.send(Request::post("/api/v5/auth/login", &body)).await.data(200);
    assert_eq!(login["user"]["tenant_id"], ada.tenant_id.as_str());
    // The edge learns of a login that ends by a command.
    let token = login["token"].as_str().unwrap().to_owned();
    told(data.path(), &["user", "disable", "running@example.com"], "");
    wait_for("the login has ended", SOON, async || {
        let answer = edge.send(Request::get("/api/v5/sessions").bearer(&token)).await;
        (answer.status == 401).then_some(())
    })
    .await;

    let data = edge.stop().await;
    manage_users(data.path(), &ada, "stopped");
    let shown = told(data.path(), &["tenant", "show", &ada.tenant_id], "");
    assert!(shown.contains("members  3") && shown.contains("active"), "{shown}");
    assert!(told(data.path(), &["tenant", "list"], "").contains(&ada.tenant_id));
    assert!(
        refused(data.path(), 1, &["tenant", "show", "00000000-0000-4000-8000-000000000000"])
            .contains("no tenant")
    );
    told(data.path(), &["store", "verify"], "");
}

#[tokio::test]
async fn a_suspended_tenant_is_refused_everywhere_within_a_second_and_goes_on_when_resumed() {
    let theia = Upstream::start(|_| Answer::Echo).await;
    let edge = Edge::start(&Config::standard(theia.address)).await;
    let (ada, eve) = (edge.register("ada@example.com").await, edge.register("eve@example.com").await);
    let workspace = edge.create_session(&ada, "engines").await;
    let cookie = edge.open_workspace(&ada, &workspace).await;
    let open = async |account: &Account, workspace: &str| {
        let target = format!("/theia/{workspace}/services?token={}", account.token);
        ws::open(edge.http, &target, &[]).await
    };
    let eves = edge.create_session(&eve, "hers").await;
    let mut socket = open(&ada, &workspace).await.expect("the socket opens");
    let mut other = open(&eve, &eves).await.expect("the other socket opens");

    let data = edge.data();
    let suspended = told(data.path(), &["tenant", "suspend", &ada.tenant_id, "--reason", "unpaid"], "");
    assert!(suspended.contains("suspended: unpaid"), "{suspended}");
    assert_eq!(socket.closed(SOON).await, Some(4001));
    let terminals = format!("/api/v5/sessions/{workspace}/terminals");
    let page = format!("/theia/{workspace}/");
    for request in [
        Request::get("/api/v5/sessions").bearer(&ada.token),
        Request::get(&terminals).bearer(&ada.token),
        Request::get(&page).cookie(&cookie),
    ] {
        let answer = edge.send(request).await;
        assert_eq!(answer.refusal(), (403, "TENANT_SUSPENDED".into()));
    }
    let refused_socket = open(&ada, &workspace).await.expect_err("no new socket");
    assert_eq!(refused_socket.refusal(), (403, "TENANT_SUSPENDED".into()));
    let login = async |password: &str| {
        let body = json!({ "email": "ada@example.com", "password": password });
        edge.send(Request::post("/api/v5/auth/login", &body)).await.refusal()
    };
    assert_eq!(login(PASSWORD).await, (403, "TENANT_SUSPENDED".into()));
    assert_eq!(login("not the password").await, (401, "INVALID_CREDENTIALS".into()));
    let refresh = Request::post("/api/v5/auth/refresh", &json!({ "refreshToken": ada.refresh_token }));
    assert_eq!(edge.send(refresh.clone()).await.refusal(), (403, "TENANT_SUSPENDED".into()));
    other.echo("another tenant goes on").await;

    told(data.path(), &["tenant", "resume", &ada.tenant_id], "");
    wait_for("the same login goes on", SOON, async || {
        (edge.get_as(&ada, "/api/v5/sessions").await.status == 200).then_some(())
    })
    .await;
    open(&ada, &workspace).await.expect("a socket again").echo("back").await;
    edge.send(refresh).await.data(200);
}

#[tokio::test]
async fn a_tenants_export_moves_it_to_a_store_of_its_own() {
    let edge = Edge::start(&standard()).await;
    let (ada, _) = (edge.register("ada@example.com").await, edge.register("eve@example.com").await);
    edge.create_session(&ada, "engines").await;
    let data = edge.data();
    let line = told(data.path(), &["tenant", "export", &ada.tenant_id, "ada.export"], "");
    assert!(line.contains("rows"), "{line}");
    let file = data.path().join("ada.export");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let nobody = ["tenant", "export", "00000000-0000-4000-8000-000000000000", "none.export"];
    assert!(refused(data.path(), 1, &nobody).contains("no tenant"));
    assert!(!data.path().join("none.export").exists(), "nothing is left of an export of nothing");

    let empty = tempfile::tempdir().unwrap();
    standard().write(empty.path());
    told(empty.path(), &["store", "import", &file.display().to_string()], "");
    told(empty.path(), &["store", "verify"], "");
    let other = Edge::start_on(Arc::new(empty), &standard()).await;
    let there = other.login("ada@example.com").await;
    assert!(other.get_as(&there, "/api/v5/sessions").await.text().contains("engines"));
    let body = json!({ "email": "eve@example.com", "password": PASSWORD });
    assert_eq!(other.send(Request::post("/api/v5/auth/login", &body)).await.status, 401);
}

/// The tenant's keys, and what names it elsewhere.
fn keys_of(data: &Path, tenant: &str) -> Vec<String> {
    let all = told(data, &["store", "ls", "-r", "--limit", "1000000"], "");
    all.lines().filter(|line| line.contains(tenant)).map(str::to_owned).collect()
}

fn is_left(key: &str, tenant: &str) -> bool {
    key.contains("/audit") || key.starts_with(&format!("/coditect/global/removals/{tenant}/"))
}

#[tokio::test]
async fn a_tenant_that_is_deleted_under_load_is_gone_at_once_and_nobody_else_notices() {
    let edge = Edge::start(&standard()).await;
    let (ada, eve) = (edge.register("ada@example.com").await, edge.register("eve@example.com").await);
    let data = edge.data();
    let ask = refused(data.path(), 2, &["tenant", "delete", &ada.tenant_id]);
    assert!(ask.contains("--yes"), "{ask}");
    let deleted = AtomicBool::new(false);
    let load = async {
        let (mut before, mut after) = (0_u32, 0_u32);
        while after < 20 {
            let gone = deleted.load(Ordering::SeqCst);
            let request = Request::post("/api/v5/sessions", &json!({ "name": "w", "type": "theia" }));
            let status = edge.send(request.bearer(&ada.token)).await.status;
            assert!(matches!(status, 201 | 401 | 404), "{status}");
            assert!(!gone || status == 401, "after the deletion: {status}");
            (before, after) = if gone { (before, after + 1) } else { (before + 1, after) };
            edge.create_session(&eve, "w").await;
        }
        before
    };
    let delete = async {
        let first = edge.get_as(&ada, "/api/v5/sessions").await;
        assert_eq!(first.status, 200);
        let (data, tenant) = (edge.data(), ada.tenant_id.clone());
        let told = tokio::task::spawn_blocking(move || {
            told(data.path(), &["tenant", "delete", &tenant, "--yes"], "")
        });
        let told = told.await.unwrap();
        assert!(told.contains("its audit trail stays"), "{told}");
        wait_for("the login has ended", SOON, async || {
            (edge.get_as(&ada, "/api/v5/sessions").await.status == 401).then_some(())
        })
        .await;
        deleted.store(true, Ordering::SeqCst);
    };
    let (before, ()) = tokio::join!(load, delete);
    assert!(before > 0);
    told(data.path(), &["store", "verify"], "");
    assert!(!told(data.path(), &["tenant", "list"], "").contains(&ada.tenant_id));
    assert_eq!(edge.get_as(&eve, "/api/v5/sessions").await.status, 200);
    let back = edge.register("ada@example.com").await;
    assert_ne!(back.tenant_id, ada.tenant_id);
    let operators = told(
        data.path(),
        &["store", "ls", "-r", "--values", "/coditect/tenant/00000000-0000-0000-0000-000000000000"],
        "",
    );
    assert!(operators.contains("tenant.delete") && operators.contains(&ada.tenant_id), "{operators}");
}

/// Rows that are in the way of a quick end.
const BULK: usize = 20_000;

/// Gives a tenant data behind the edge's back.
async fn stuff(data: &Path, tenant: &str) {
    let options = EmbeddedOptions::new(data.join("store.redb"));
    let backend = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
    let store = Store::new(Arc::new(backend), Arc::new(SystemEntropy));
    for part in 0..20 {
        let transaction = store.begin();
        for row in 0..BULK / 20 {
            let path = format!("/coditect/tenant/{tenant}/usage/{part}-{row}");
            transaction.set(from_path(&path).unwrap(), 1_u64.to_le_bytes().to_vec()).unwrap();
        }
        transaction.commit().await.unwrap();
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_deletion_that_was_killed_goes_on_at_the_next_start() {
    let edge = Edge::start(&standard()).await;
    let ada = edge.register("ada@example.com").await;
    edge.create_session(&ada, "engines").await;
    let data = edge.stop().await;
    stuff(data.path(), &ada.tenant_id).await;

    let mut edge = Edge::start_on(Arc::clone(&data), &standard()).await;
    let delete = json!({ "password": PASSWORD, "tenantId": ada.tenant_id });
    let request = Request::new("DELETE", "/api/v5/tenant").header("content-type", "application/json");
    let answer = edge.send(request.bearer(&ada.token).body(delete.to_string())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(edge.get_as(&ada, "/api/v5/sessions").await.refusal(), (401, "TOKEN_REVOKED".into()));
    edge.signal(Signal::KILL);
    edge.exit(DEADLINE).await;

    let left = keys_of(data.path(), &ada.tenant_id);
    let unfinished = left.iter().filter(|key| !is_left(key, &ada.tenant_id)).count();
    assert!(unfinished > 0, "it was killed too late to show anything");
    told(data.path(), &["store", "verify"], "");

    let edge = Edge::start_on(Arc::clone(&data), &standard()).await;
    let since = Instant::now();
    wait_until("the deletion has gone on", DEADLINE, || {
        let left = keys_of(data.path(), &ada.tenant_id);
        left.iter().all(|key| is_left(key, &ada.tenant_id)).then_some(())
    })
    .await;
    println!("{unfinished} keys were left, and went in {:?}", since.elapsed());
    told(data.path(), &["store", "verify"], "");
    edge.register("ada@example.com").await;
    edge.stop().await;
}
