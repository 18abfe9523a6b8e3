//! Register, log in, refresh, log out.

use coditect_auth::{AuthError, FamilyEnd};
use coditect_store::records::{User, UserStatus};
use serde_json::json;

use crate::support::{Api, FAMILY, GRACE, START, password_settings};

#[tokio::test]
async fn registration_answers_the_contracts_shape_and_claims() {
    let api = Api::new();
    let answer = api.register(" Ann@Example.com ").await;
    let data = answer.data();
    assert_eq!(data["expires_in"], 3600);
    let user = &data["user"];
    let expected = json!({
        "id": user["id"], "tenant_id": user["tenant_id"], "email": "ann@example.com", "first_name": "Ann",
        "last_name": "Lee", "role": "owner", "status": "active", "created_at": "2027-01-15T08:00:00Z", "updated_at": "2027-01-15T08:00:00Z",
    });
    assert_eq!(*user, expected);
    assert_eq!(data.as_object().unwrap().len(), 4, "token, refresh_token, expires_in, user: {data}");

    let claims = api.verifier.verify(data["token"].as_str().unwrap(), START).unwrap();
    assert_eq!(json!(claims.sub), user["id"]);
    assert_eq!(json!(claims.tenant_id), user["tenant_id"]);
    assert_eq!((claims.email.as_str(), claims.iat, claims.exp), ("ann@example.com", START, START + 3600));
    assert_eq!((claims.iss.as_str(), claims.aud.as_str()), ("coditect.ai", "coditect-users"));
    assert_ne!(claims.session_id, claims.token_family);
}

/// Outage 6: the old handlers minted tokens without `session_id` and `token_family`.
#[tokio::test]
async fn outage_6_every_token_names_a_stored_session_and_family() {
    let api = Api::new();
    let registered = api.register("ann@example.com").await;
    let login = json!({"email": "ann@example.com", "password": "correct horse"});
    let logged_in = api.post("/api/v5/auth/login", None, login).await;
    let refreshed = api.refresh(&logged_in.text("refresh_token")).await;
    for answer in [&registered, &logged_in, &refreshed] {
        let claims = api.verifier.verify(&answer.text("token"), START).unwrap();
        let auth = api.repositories.auth_sessions();
        let (session, family) = auth.find(claims.session_id).await.unwrap().unwrap();
        assert_eq!((session.family, family.id), (claims.token_family, claims.token_family));
        assert_eq!((family.user_id, family.tenant_id), (claims.sub, claims.tenant_id));
    }
}

#[tokio::test]
async fn registration_says_what_is_wrong() {
    let api = Api::new();
    let good = json!({"email": "a@example.com", "password": "a good one", "firstName": "A", "lastName": "L"});
    for (field, value, message) in [
        ("email", "nobody", "email: must be an address such as name@example.com"),
        ("password", "1234567", "password: must have 8 to 128 characters"),
        ("password", "A@example.com", "password: must not be the e-mail address or its first part"),
        ("password", "Password123", "password: is one of the passwords that are guessed first"),
        ("firstName", "  ", "firstName: must have 1 to 100 characters and no control characters"),
        ("lastName", "", "lastName: must have 1 to 100 characters and no control characters"),
    ] {
        let mut body = good.clone();
        body[field] = json!(value);
        let answer = api.post("/api/v5/auth/register", None, body).await;
        assert_eq!(answer.refused(422, "VALIDATION_FAILED"), message);
    }
    assert_eq!(api.post("/api/v5/auth/register", None, good).await.status, 201);
}

#[tokio::test]
async fn an_address_can_be_registered_once() {
    let api = Api::new();
    api.register("ann@example.com").await;
    let again =
        json!({"email": "ANN@example.com", "password": "another one", "firstName": "B", "lastName": "C"});
    api.post("/api/v5/auth/register", None, again).await.refused(409, "EMAIL_TAKEN");
}

#[tokio::test]
async fn login_starts_a_family_of_its_own() {
    let api = Api::new();
    let registered = api.register("ann@example.com").await;
    let login = json!({"email": "Ann@example.com", "password": "correct horse"});
    let answer = api.post("/api/v5/auth/login", None, login).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.data()["user"], registered.data()["user"]);
    let family = |token: String| api.verifier.verify(&token, START).unwrap().token_family;
    assert_ne!(family(answer.text("token")), family(registered.text("token")));
}

#[tokio::test]
async fn wrong_password_and_unknown_address_answer_the_same() {
    let api = Api::new();
    api.register("ann@example.com").await;
    let mut answers = Vec::new();
    for (email, password) in [
        ("ann@example.com", "wrong horse"),
        ("bob@example.com", "correct horse"),
        ("no address", "correct horse"),
        ("ann@example.com", "short"),
        ("ann@example.com", ""),
    ] {
        let body = json!({"email": email, "password": password});
        let answer = api.post("/api/v5/auth/login", None, body).await;
        answers.push(answer.refused(401, "INVALID_CREDENTIALS"));
    }
    let long = "x".repeat(5_000);
    let body = json!({"email": format!("{long}@example.com"), "password": long});
    answers.push(api.post("/api/v5/auth/login", None, body).await.refused(401, "INVALID_CREDENTIALS"));
    assert!(answers.iter().all(|message| *message == answers[0]), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_logins_is_shed_with_503() {
    let mut settings = password_settings(1, 1);
    settings.memory_kib = 32 << 10;
    let api = std::sync::Arc::new(Api::with_passwords(settings));
    let attempts: Vec<_> = (0..16)
        .map(|_| {
            let api = std::sync::Arc::clone(&api);
            tokio::spawn(async move {
                let body = json!({"email": "ann@example.com", "password": "correct horse"});
                api.post("/api/v5/auth/login", None, body).await
            })
        })
        .collect();
    let mut shed = 0;
    for attempt in attempts {
        let answer = attempt.await.unwrap();
        if answer.status == 503 {
            answer.refused(503, "OVERLOADED");
            assert_eq!(answer.header("retry-after"), "1");
            shed += 1;
        } else {
            answer.refused(401, "INVALID_CREDENTIALS");
        }
    }
    assert!((1..16).contains(&shed), "{shed} of 16 were shed");
}

#[tokio::test]
async fn refresh_rotates_inside_the_family() {
    let api = Api::new();
    let first = api.register("ann@example.com").await;
    api.clock.advance(4000);
    assert_eq!(api.admit(&first.text("token")).await.unwrap_err(), AuthError::TokenExpired);
    let second = api.refresh(&first.text("refresh_token")).await;
    assert_eq!(second.status, 200);
    assert_eq!(second.data()["user"], first.data()["user"]);
    assert_ne!(second.text("refresh_token"), first.text("refresh_token"));
    let before = api.verifier.verify(&first.text("token"), START).unwrap();
    let after = api.admit(&second.text("token")).await.unwrap().claims;
    assert_eq!(after.token_family, before.token_family);
    assert_ne!(after.session_id, before.session_id);
}

#[tokio::test]
async fn a_retry_within_the_grace_time_gets_the_same_successor() {
    let api = Api::new();
    let first = api.register("ann@example.com").await.text("refresh_token");
    let second = api.refresh(&first).await;
    api.clock.advance(GRACE - 1);
    let retried = api.refresh(&first).await;
    assert_eq!(retried.text("refresh_token"), second.text("refresh_token"));
    api.admit(&retried.text("token")).await.unwrap();
    assert_eq!(api.refresh(&second.text("refresh_token")).await.status, 200, "the family goes on");
}

#[tokio::test]
async fn a_retry_within_the_grace_time_gets_the_latest_link_however_many_there_are() {
    let api = Api::new();
    let first = api.register("ann@example.com").await.text("refresh_token");
    let second = api.refresh(&first).await.text("refresh_token");
    let third = api.refresh(&second).await.text("refresh_token");
    let retried = api.refresh(&first).await.text("refresh_token");
    assert_eq!(retried, third, "the second link would count as reused before long");
    api.clock.advance(GRACE);
    assert_eq!(api.refresh(&retried).await.status, 200);
}

#[tokio::test]
async fn reuse_after_the_grace_time_ends_the_family_and_its_sockets() {
    let api = Api::new();
    let first = api.register("ann@example.com").await.text("refresh_token");
    let second = api.refresh(&first).await;
    let socket = api.admit(&second.text("token")).await.unwrap().family;
    api.clock.advance(GRACE);
    api.refresh(&first).await.refused(401, "TOKEN_REVOKED");
    assert_eq!(socket.ended().await, FamilyEnd::Revoked);
    assert_eq!(api.admit(&second.text("token")).await.unwrap_err(), AuthError::TokenRevoked);
    api.refresh(&second.text("refresh_token")).await.refused(401, "TOKEN_REVOKED");
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused() {
    let api = Api::new();
    let registered = api.register("ann@example.com").await;
    for bad in ["", "x", "a.b.c", &registered.text("token"), &"x".repeat(10_000)] {
        api.refresh(bad).await.refused(401, "INVALID_TOKEN");
    }
    let mut forged = registered.text("refresh_token");
    let last = if forged.ends_with('A') { "B" } else { "A" };
    forged.replace_range(forged.len() - 5..forged.len() - 4, last);
    api.refresh(&forged).await.refused(401, "INVALID_TOKEN");
    let missing = api.post("/api/v5/auth/refresh", None, json!({})).await;
    assert_eq!(missing.refused(422, "VALIDATION_FAILED"), "refreshToken: is required");
    let no_body = api.call(http::Method::POST, "/api/v5/auth/refresh", None, None).await;
    no_body.refused(422, "VALIDATION_FAILED");
    let snake = api.post("/api/v5/auth/refresh", None, json!({"refresh_token": "x"})).await;
    assert!(snake.refused(422, "VALIDATION_FAILED").starts_with("refresh_token: unknown field"));
}

#[tokio::test]
async fn no_refresh_outlives_the_family() {
    let api = Api::new();
    let first = api.register("ann@example.com").await.text("refresh_token");
    api.clock.advance(FAMILY - 100);
    let last = api.refresh(&first).await;
    assert_eq!(last.data()["expires_in"], 100, "an access token ends with its family");
    api.clock.advance(100);
    api.refresh(&last.text("refresh_token")).await.refused(401, "TOKEN_EXPIRED");
}

#[tokio::test]
async fn logout_ends_the_family_at_once_and_for_good() {
    let api = Api::new();
    let registered = api.register("ann@example.com").await;
    let login = json!({"email": "ann@example.com", "password": "correct horse"});
    let other = api.post("/api/v5/auth/login", None, login).await.text("token");
    let token = registered.text("token");
    let socket = api.admit(&token).await.unwrap().family;
    let answer = api.call(http::Method::POST, "/api/v5/auth/logout", Some(&token), None).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, json!({"success": true, "data": {}}));
    assert_eq!(socket.ended().await, FamilyEnd::Revoked);
    assert_eq!(api.admit(&token).await.unwrap_err(), AuthError::TokenRevoked);
    api.refresh(&registered.text("refresh_token")).await.refused(401, "TOKEN_REVOKED");
    api.admit(&other).await.expect("another login of the same user goes on");

    let claims = api.verifier.verify(&token, START).unwrap();
    let auth = api.repositories.auth_sessions();
    let stored = auth.family_of(claims.tenant_id, claims.session_id).await.unwrap().unwrap();
    assert_eq!(stored.revoked_at, Some(START), "also in the store, for other processes and the next start");
}

#[tokio::test]
async fn the_client_is_remembered_within_bounds() {
    let api = Api::new();
    api.register("ann@example.com").await;
    let body = json!({"email": "ann@example.com", "password": "correct horse"}).to_string();
    let request = http::Request::post("/api/v5/auth/login")
        .header("content-type", "application/json")
        .header("user-agent", "u".repeat(5000))
        .header("x-real-ip", "192.0.2.7")
        .body(body.into())
        .unwrap();
    let token = api.raw(request).await.text("token");
    let id = api.verifier.verify(&token, START).unwrap().session_id;
    let (session, _) = api.repositories.auth_sessions().find(id).await.unwrap().unwrap();
    assert_eq!(session.user_agent.unwrap().len(), 256);
    assert_eq!(session.address.as_deref(), Some("192.0.2.7"));
}

#[tokio::test]
async fn a_disabled_user_can_neither_log_in_nor_refresh() {
    let api = Api::new();
    let registered = api.register("ann@example.com").await;
    let claims = api.verifier.verify(&registered.text("token"), START).unwrap();
    let users = api.repositories.users();
    let disable = |user: &mut User| user.status = UserStatus::Disabled;
    // The record alone: revoking the logins as well would hide what is tested here.
    users.update(claims.tenant_id, claims.sub, None, disable).await.unwrap();
    let login = json!({"email": "ann@example.com", "password": "correct horse"});
    api.post("/api/v5/auth/login", None, login).await.refused(401, "INVALID_CREDENTIALS");
    api.refresh(&registered.text("refresh_token")).await.refused(401, "TOKEN_REVOKED");
}

/// Whoever measures how long a refusal takes must not learn who has an account.
#[tokio::test]
async fn all_refused_logins_cost_the_same() {
    let mut settings = password_settings(1, 4);
    (settings.memory_kib, settings.iterations) = (8 << 10, 2);
    let api = Api::with_passwords(settings);
    for email in ["ann@example.com", "off@example.com"] {
        api.register(email).await;
    }
    let users = api.repositories.users();
    let off = users.by_email("off@example.com").await.unwrap().unwrap();
    let disable = |user: &mut User| user.status = UserStatus::Disabled;
    users.update(off.tenant_id, off.id, None, disable).await.unwrap();
    let attempts = [
        ("nobody@example.com", "correct horse"),
        ("ann@example.com", "wrong horse"),
        ("ann@example.com", "short"),
        ("off@example.com", "correct horse"),
        ("no address", "correct horse"),
    ];
    // The least of several tries, each between those of the others, is what it costs on a machine with other work.
    let mut least = [std::time::Duration::MAX; 5];
    for _ in 0..7 {
        for (least, (email, password)) in least.iter_mut().zip(attempts) {
            let started = std::time::Instant::now();
            let answer = api.log_in_from("192.0.2.1", email, password).await;
            *least = (*least).min(started.elapsed());
            answer.refused(401, "INVALID_CREDENTIALS");
        }
    }
    let (fastest, slowest) = (least.iter().min().unwrap(), least.iter().max().unwrap());
    assert!(*slowest < *fastest * 2, "{least:?}");
}

#[tokio::test]
async fn a_login_renews_a_hash_that_is_weaker_than_configured() {
    let mut settings = password_settings(2, 64);
    settings.iterations = 2;
    let api = Api::with_passwords(settings);
    let registered = api.register("ann@example.com").await;
    let claims = api.verifier.verify(&registered.text("token"), START).unwrap();
    let entropy = std::sync::Arc::new(coditect_auth::SeededEntropy::new(5));
    let before = coditect_auth::PasswordHasher::new(password_settings(1, 1), entropy).unwrap();
    let weak = before.hash("correct horse".into()).await.unwrap();
    let users = api.repositories.users();
    let put = |user: &mut coditect_store::records::User| user.password_hash.clone_from(&weak);
    users.update(claims.tenant_id, claims.sub, None, put).await.unwrap();
    let stored = async || users.get(claims.tenant_id, claims.sub).await.unwrap().unwrap().password_hash;

    let login = |password: &str| {
        api.post("/api/v5/auth/login", None, json!({"email": "ann@example.com", "password": password}))
    };
    login("wrong horse").await.refused(401, "INVALID_CREDENTIALS");
    assert_eq!(stored().await, weak, "only who knows the password can renew its hash");
    assert_eq!(login("correct horse").await.status, 200);
    let renewed = stored().await;
    assert!(renewed.starts_with("$argon2id$v=19$m=8,t=2,p=1$"), "{renewed}");
    assert_eq!(login("correct horse").await.status, 200);
    assert_eq!(stored().await, renewed, "and once is enough");
}
