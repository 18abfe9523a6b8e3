//! `/api/v5/auth/ticket`: one-use tickets, with which a browser opens a WebSocket without a token in its address.

use std::sync::Arc;

use axum::extract::State;
use coditect_auth::TicketError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::envelope::{Answer, Data};
use crate::error::ApiError;
use crate::extract::{Caller, Json};
use crate::state::ApiState;

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(issue))
}

/// Which socket is to be opened.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TicketRequest {
    /// Its path as it will be requested, without query: `/theia/{session}/…` or
    /// `/api/v5/sessions/{session}/terminals/{terminal}/attach`.
    #[schema(
        min_length = 1,
        max_length = 1024,
        pattern = r"^/(?!.*/\.{1,2}(/|$))(theia/[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}/[\x21\x22\x24-\x3E\x40-\x7E]*|api/v5/sessions/[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}/terminals/[\x21\x22\x24-\x2E\x30-\x3E\x40-\x7E]+/attach)$"
    )]
    path: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct TicketResponse {
    /// Opens one socket at the path, once. Send it as the query parameter `ticket`.
    ticket: String,
    /// In seconds.
    expires_in: i64,
}

/// Gives a ticket for one WebSocket in one of the caller's workspaces.
#[utoipa::path(
    post, path = "/auth/ticket", tag = "auth", operation_id = "createTicket", security(("bearer" = ["member"])),
    request_body = TicketRequest,
    responses(
        (status = 200, description = "The ticket", body = Answer<TicketResponse>),
        (status = 404, description = "The caller has no such workspace"),
    )
)]
async fn issue(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Json(request): Json<TicketRequest>,
) -> Result<Data<TicketResponse>, ApiError> {
    let workspace = workspace(&request.path).ok_or_else(|| {
        let rule = "must be /theia/{session}/… or /api/v5/sessions/{session}/terminals/{terminal}/attach";
        ApiError::validation("path", rule)
    })?;
    let sessions = state.repositories.sessions();
    sessions.get(caller.tenant(), caller.user(), workspace).await?.ok_or(ApiError::NotFound)?;
    let ticket = state.issuer.ticket(&caller.0, &request.path, Some(workspace), state.clock.now());
    let ticket = ticket.map_err(|error| match error {
        TicketError::Path => ApiError::validation("path", error.to_string()),
        TicketError::Auth(error) => error.into(),
    })?;
    Ok(Data(TicketResponse { ticket: ticket.token, expires_in: ticket.expires_in }))
}

/// The workspace whose socket a path is; `None` if it is none's. Segments that go elsewhere are no socket's: the ticket is
/// for the path as it is written.
fn workspace(path: &str) -> Option<Uuid> {
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    if segments.iter().any(|segment| [".", ".."].contains(segment)) {
        return None;
    }
    let id = match segments.as_slice() {
        ["theia", id, _, ..] => id,
        ["api", "v5", "sessions", id, "terminals", terminal, "attach"] if !terminal.is_empty() => id,
        _ => return None,
    };
    let hyphenated = id.len() == uuid::fmt::Hyphenated::LENGTH;
    Uuid::try_parse(id).ok().filter(|_| hyphenated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_of_workspaces_have_one() {
        let id = Uuid::from_u128(7);
        for path in [
            format!("/theia/{id}/socket.io/"),
            format!("/api/v5/sessions/{id}/terminals/1/attach"),
            format!("/theia/{id}/"),
        ] {
            assert_eq!(workspace(&path), Some(id), "{path}");
        }
        for path in [
            format!("/theia/{id}"),
            "/theia/socket.io/".to_owned(),
            format!("theia/{id}/x"),
            format!("/theia/{id}/../x"),
            format!("/theia/{}/x", id.simple()),
            format!("/api/v5/sessions/{id}"),
            format!("/api/v5/sessions/{id}/terminals//attach"),
            format!("/api/v5/sessions/{id}/terminals/1/attach/x"),
            String::new(),
        ] {
            assert_eq!(workspace(&path), None, "{path}");
        }
    }
}
