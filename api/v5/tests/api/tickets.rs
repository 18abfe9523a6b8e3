//! One-use tickets for WebSockets.

use coditect_auth::AuthError;
use serde_json::json;

use crate::support::{Api, START};

const TICKET: &str = "/api/v5/auth/ticket";

#[tokio::test]
async fn a_ticket_is_for_one_path_of_the_callers_workspace_and_half_a_minute() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    let work = api.post("/api/v5/sessions", Some(&token), json!({"name": "w"})).await.text("id");
    let path = format!("/api/v5/sessions/{work}/terminals/1/attach");
    let answer = api.post(TICKET, Some(&token), json!({"path": path})).await;
    assert_eq!((answer.status.as_u16(), &answer.data()["expires_in"]), (200, &json!(30)));
    let ticket = api.verifier.verify_ticket(&answer.text("ticket"), &path, START).unwrap();
    assert_eq!(ticket.workspace.map(|id| id.to_string()), Some(work.clone()));
    let elsewhere = api.verifier.verify_ticket(&answer.text("ticket"), "/theia/", START);
    assert_eq!(elsewhere.unwrap_err(), AuthError::InvalidToken);

    let stranger = api.register("bob@example.com").await.text("token");
    api.post(TICKET, Some(&stranger), json!({"path": path})).await.refused(404, "NOT_FOUND");
    for wrong in ["/api/v5/sessions".to_owned(), format!("/theia/{work}/x?y"), format!("/theia/{work}/ä")] {
        let message =
            api.post(TICKET, Some(&token), json!({"path": wrong})).await.refused(422, "VALIDATION_FAILED");
        assert!(message.starts_with("path: must be"), "{message}");
    }
}
