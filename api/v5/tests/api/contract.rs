//! The document that is committed, and the page made from it.

use std::path::Path;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::support::Api;

/// What is committed beside the crate's manifest, for clients and reviews.
#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    let served = format!("{}\n", serde_json::to_string_pretty(&coditect_api::document()).unwrap());
    let place = committed
        .lines()
        .zip(served.lines())
        .position(|(committed, served)| committed != served)
        .unwrap_or(0);
    assert!(
        committed == served,
        "{} differs from the program from line {} on; if the change is meant, renew it and the client with api/client/generate",
        file.display(),
        place + 1
    );
}

#[tokio::test]
async fn the_page_is_whole_in_itself_and_its_policy_lets_nothing_else_in() {
    let request = Request::get("/api/v5/docs").body(Body::empty()).unwrap();
    let response = Api::new().router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let page = response.into_body().collect().await.unwrap().to_bytes();
    let page = std::str::from_utf8(&page).unwrap();
    assert!(page.contains("createSession") && page.contains("attachTerminal"));
}
