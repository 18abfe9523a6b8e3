//! Many at once: refreshes with one token, logins beyond what the machine can hash.

use crate::support::api::{PASSWORD, claims};
use crate::support::{Account, Config, Connection, Edge, Request, Response, Upstream, ws};
use futures::future::join_all;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// Refreshes at once.
const REFRESHES: usize = 50;
/// Logins at once.
const LOGINS: usize = 200;
/// What OWASP asks of Argon2id, in KiB.
const HASH_KIB: u64 = 19_456;
/// Within this everything opened with a revoked login has ended.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

async fn refresh(edge: &Edge, token: &str) -> Response {
    edge.send(Request::post("/api/v5/auth/refresh", &json!({ "refreshToken": token }))).await
}

/// The sockets of a login: Theia's and a terminal's.
async fn sockets(edge: &Edge, account: &Account) -> [ws::Socket; 2] {
    let workspace = edge.create_session(account, "w").await;
    let theia = format!("/theia/{workspace}/socket?token={}", account.token);
    let terminal = edge.create_terminal(account, &workspace).await;
    let terminal = format!("{terminal}?token={}", account.token);
    let origin = edge.origin();
    let open = async |target: &str| ws::open(edge.http, target, &[("origin", &origin)]).await.unwrap();
    [open(&theia).await, open(&terminal).await]
}

#[tokio::test]
async fn fifty_refreshes_with_one_token_make_one_new_member_of_the_family() {
    let theia = Upstream::echo().await;
    let edge = Edge::start(&Config::standard(theia.address)).await;
    let ada = edge.register("ada@example.com").await;
    let answers = join_all((0..REFRESHES).map(|_| refresh(&edge, &ada.refresh_token))).await;
    let mut members = BTreeSet::new();
    let mut tokens = BTreeSet::new();
    for answer in answers {
        let data = answer.data(200);
        let claims = claims(data["token"].as_str().unwrap());
        members.insert(claims["session_id"].to_string());
        tokens.insert(data["refresh_token"].as_str().unwrap().to_owned());
    }
    assert_eq!(members.len(), 1, "every answer is of the one new member: {members:?}");
    assert!(!members.contains(&claims(&ada.token)["session_id"].to_string()), "which is new");
    assert_eq!(tokens.len(), 1, "and has one refresh token");
    // It goes on from there, once more.
    let next = refresh(&edge, tokens.first().unwrap()).await.data(200);
    assert!(!members.contains(&claims(next["token"].as_str().unwrap())["session_id"].to_string()));
}

#[tokio::test]
async fn a_refresh_token_used_again_after_its_window_ends_the_login_and_its_sockets() {
    let theia = Upstream::echo().await;
    let config = Config::standard(theia.address).auth("refresh_grace_seconds = 0");
    let edge = Edge::start(&config).await;
    let ada = edge.register("ada@example.com").await;
    let mut sockets = sockets(&edge, &ada).await;
    let current = refresh(&edge, &ada.refresh_token).await.data(200);
    sockets[0].echo("an ordinary refresh does not disturb a socket").await;

    assert_eq!(refresh(&edge, &ada.refresh_token).await.refusal(), (401, "TOKEN_REVOKED".into()));
    for socket in &mut sockets {
        assert_eq!(socket.closed(REVOKED_WITHIN).await, Some(4001));
    }
    for token in [ada.token.as_str(), current["token"].as_str().unwrap()] {
        let refused = edge.send(Request::get("/api/v5/sessions").bearer(token)).await;
        assert_eq!(refused.refusal(), (401, "TOKEN_REVOKED".into()));
    }
    let successor = current["refresh_token"].as_str().unwrap();
    assert_eq!(refresh(&edge, successor).await.refusal(), (401, "TOKEN_REVOKED".into()));
    edge.login("ada@example.com").await;
}

/// Memory of the edge now and at its height, in KiB.
fn memory(edge: &Edge) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", edge.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("the kernel tells it");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Logins beyond the pool are told to come back; they cost no memory, and keep nobody from working.
#[tokio::test]
async fn a_flood_of_logins_stays_within_the_pools_memory_and_lets_others_work() {
    const WORKERS: u64 = 2;
    /// Connections, their buffers and tasks.
    const REST_KIB: u64 = 24 * 1024;
    let theia = Upstream::echo().await;
    let config = Config::standard(theia.address)
        .password(&format!("memory_kib = {HASH_KIB}\nworkers = {WORKERS}\nqueue = 16"))
        .auth("# throttle");
    let edge = Edge::start(&config).await;
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "w").await;
    let (before, _) = memory(&edge);

    let login = json!({ "email": "ada@example.com", "password": PASSWORD });
    let flood = join_all((0..LOGINS).map(|_| edge.send(Request::post("/api/v5/auth/login", &login))));
    let reader = async {
        let mut connection = Connection::open(edge.http).await;
        let read = Request::get(&format!("/api/v5/sessions/{workspace}")).bearer(&ada.token);
        for _ in 0..LOGINS {
            assert_eq!(connection.exchange(&read).await.status, 200, "a read while logins wait");
        }
    };
    let (answers, ()) = tokio::join!(flood, reader);

    let (mut good, mut shed) = (0, 0);
    for answer in answers {
        match answer.status {
            200 => good += 1,
            503 => {
                assert_eq!(answer.refusal().1, "OVERLOADED");
                let seconds: u64 = answer.header("retry-after").expect("when to come back").parse().unwrap();
                assert!(seconds >= 1);
                shed += 1;
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert!(good >= 16 && shed > 0, "{good} logged in, {shed} were told to come back");
    let (_, height) = memory(&edge);
    let bound = before + WORKERS * HASH_KIB + REST_KIB;
    assert!(height <= bound, "{height} KiB at its height, {before} KiB before, bound {bound} KiB");
}
