//! Limits of attempts to log in, register and refresh.

use coditect_config::Rate;
use prometheus::Encoder as _;
use serde_json::json;

use crate::support::{Answer, Api, UNLIMITED};

const PASSWORD: &str = "correct horse";

/// Six in a minute, three at once.
const TIGHT: Rate = Rate { per_minute: 6, burst: 3 };

fn throttled(answer: &Answer, seconds: u64) {
    let message = answer.refused(429, "TOO_MANY_REQUESTS");
    assert_eq!(message, format!("too many attempts, try again in {seconds} s"));
    assert_eq!(answer.header("retry-after"), seconds.to_string());
}

#[tokio::test]
async fn an_account_is_refused_after_failures_with_the_right_password_too() {
    let api = Api::with_throttle(TIGHT, UNLIMITED);
    api.register("ann@example.com").await;
    for (n, email) in ["ann@example.com", "nobody@example.com", "no address"].into_iter().enumerate() {
        for attempt in 0..3 {
            // From wherever it comes, however it is spelt.
            let answer = api.log_in_from(&format!("192.0.2.{attempt}"), &email.to_uppercase(), "wrong").await;
            answer.refused(401, "INVALID_CREDENTIALS");
        }
        throttled(&api.log_in_from("192.0.2.99", email, PASSWORD).await, 10);
        let recorded = api.audit_names().await;
        let failures = recorded.iter().filter(|name| *name == "login.fail").count();
        assert_eq!(failures, 3 * (n + 1), "what is refused is neither looked up nor recorded");
    }
    api.clock.advance(9);
    throttled(&api.log_in_from("192.0.2.1", "ann@example.com", PASSWORD).await, 1);
    api.clock.advance(1);
    assert_eq!(api.log_in_from("192.0.2.1", "ann@example.com", PASSWORD).await.status, 200);
    let metrics = api.metrics();
    let counted = r#"coditect_api_throttled_total{attempt="login",limit="account"} 4"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn logins_that_succeed_cost_the_account_nothing_and_give_nothing_else_back() {
    let api = Api::with_throttle(TIGHT, UNLIMITED);
    api.register("ann@example.com").await;
    for _ in 0..2 {
        api.log_in_from("192.0.2.1", "ann@example.com", "wrong").await.refused(401, "INVALID_CREDENTIALS");
    }
    for _ in 0..10 {
        assert_eq!(api.log_in_from("192.0.2.1", "ann@example.com", PASSWORD).await.status, 200);
    }
    api.log_in_from("192.0.2.1", "ann@example.com", "wrong").await.refused(401, "INVALID_CREDENTIALS");
    throttled(&api.log_in_from("192.0.2.1", "ann@example.com", PASSWORD).await, 10);
}

#[tokio::test]
async fn an_address_is_refused_whatever_accounts_it_tries() {
    let api = Api::with_throttle(UNLIMITED, TIGHT);
    for n in 0..3 {
        let email = format!("user{n}@example.com");
        // One client has all of its /64.
        let answer = api.log_in_from(&format!("2001:db8::{n}"), &email, PASSWORD).await;
        answer.refused(401, "INVALID_CREDENTIALS");
    }
    throttled(&api.log_in_from("2001:db8::ffff", "user4@example.com", PASSWORD).await, 10);
    let other = api.log_in_from("2001:db8:0:1::", "user4@example.com", PASSWORD).await;
    other.refused(401, "INVALID_CREDENTIALS");

    let register = |n: usize| {
        let (first, last) = ("Ann", "Lee");
        let email = format!("new{n}@example.com");
        let body = json!({"email": email, "password": PASSWORD, "firstName": first, "lastName": last});
        http::Request::post("/api/v5/auth/register")
            .header("content-type", "application/json")
            .header("x-real-ip", "192.0.2.1")
            .body(body.to_string().into())
            .unwrap()
    };
    for n in 0..3 {
        assert_eq!(api.raw(register(n)).await.status, 201);
    }
    throttled(&api.raw(register(3)).await, 10);
}

#[tokio::test]
async fn refreshes_count_whether_they_succeed_or_fail() {
    let api = Api::with_throttle(UNLIMITED, TIGHT);
    let refresh = |token: String| {
        let request = http::Request::post("/api/v5/auth/refresh")
            .header("content-type", "application/json")
            .header("x-real-ip", "192.0.2.1")
            .body(json!({"refreshToken": token}).to_string().into());
        api.raw(request.unwrap())
    };
    let mut token = api.register("ann@example.com").await.text("refresh_token");
    for _ in 0..2 {
        token = refresh(token).await.text("refresh_token");
    }
    refresh("nonsense".into()).await.refused(401, "INVALID_TOKEN");
    throttled(&refresh(token.clone()).await, 10);
    api.clock.advance(10);
    assert_eq!(refresh(token).await.status, 200, "the refusal has not used it up");
}

impl Api {
    /// What Prometheus would read.
    fn metrics(&self) -> String {
        let mut text = Vec::new();
        prometheus::TextEncoder::new().encode(&self.registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }
}
