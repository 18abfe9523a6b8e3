//! The operations on terminals, as the terminal crate serves them beside this API: the document has them, the router
//! does not. `tests/integration/contract.rs` holds the two against each other.
#![expect(dead_code, reason = "only the document is made of these")]

use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use uuid::Uuid;

use crate::envelope::{Answer, Empty};

/// The part of the document that is the terminals'.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    Terminals::openapi()
}

#[derive(OpenApi)]
#[openapi(paths(create, list, delete, resize, attach))]
struct Terminals;

/// The size of a new terminal; it may be left out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TerminalRequest {
    /// In characters.
    #[schema(minimum = 1, maximum = 1000, default = 80, nullable = false)]
    cols: Option<u16>,
    /// In characters.
    #[schema(minimum = 1, maximum = 1000, default = 24, nullable = false)]
    rows: Option<u16>,
}

/// A terminal's size.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TerminalSize {
    /// In characters.
    #[schema(minimum = 1, maximum = 1000)]
    cols: u16,
    /// In characters.
    #[schema(minimum = 1, maximum = 1000)]
    rows: u16,
}

#[derive(Serialize, ToSchema)]
struct TerminalResponse {
    id: Uuid,
    /// The workspace it is in.
    session_id: Uuid,
    cols: u16,
    rows: u16,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(inline)]
    status: TerminalStatus,
    /// `null` while it runs, and where a signal ended it.
    #[schema(required)]
    exit_code: Option<i32>,
    /// `null` while it runs, and where it ended by itself.
    #[schema(required)]
    exit_signal: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TerminalStatus {
    /// Its shell runs.
    Running,
    /// Its shell has ended; its last output is kept for a while.
    Exited,
}

/// Starts a shell in a workspace.
#[utoipa::path(
    post, path = "/sessions/{id}/terminals", tag = "terminals", operation_id = "createTerminal",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path, description = "The workspace")),
    request_body = Option<TerminalRequest>,
    responses(
        (status = 201, description = "The terminal", body = Answer<TerminalResponse>),
        (status = 429, description = "The workspace, its user or the edge has as many terminals as it may have"),
    )
)]
fn create() {}

/// Lists a workspace's terminals, those that have just ended included.
#[utoipa::path(
    get, path = "/sessions/{id}/terminals", tag = "terminals", operation_id = "listTerminals",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path, description = "The workspace")),
    responses((status = 200, description = "All of them", body = Answer<Vec<TerminalResponse>>))
)]
fn list() {}

/// Ends a terminal with all that runs in it.
#[utoipa::path(
    delete, path = "/sessions/{id}/terminals/{terminal_id}", tag = "terminals", operation_id = "deleteTerminal",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path, description = "The workspace"), ("terminal_id" = Uuid, Path)),
    responses((status = 200, description = "It is gone", body = Answer<Empty>))
)]
fn delete() {}

/// Changes a terminal's size, for everyone who looks at it.
#[utoipa::path(
    post, path = "/sessions/{id}/terminals/{terminal_id}/resize", tag = "terminals",
    operation_id = "resizeTerminal", security(("bearer" = ["member"])),
    params(("id" = Uuid, Path, description = "The workspace"), ("terminal_id" = Uuid, Path)),
    request_body = TerminalSize,
    responses((status = 200, description = "The terminal as it is now", body = Answer<TerminalResponse>))
)]
fn resize() {}

/// Attaches a WebSocket (RFC 6455) to a terminal, in the subprotocol `coditect.terminal.v1`.
///
/// Binary messages are the terminal's bytes, text messages JSON objects told apart by `type`: from the server `hello`,
/// `resized`, `lost`, `error` and `exit`, from the client `resize` and `ack`. No more than 100 000 bytes of output are
/// under way without an `ack`. A page, which can set no header, sends its access token as the query parameter `token`.
#[utoipa::path(
    get, path = "/sessions/{id}/terminals/{terminal_id}/attach", tag = "terminals",
    operation_id = "attachTerminal", security(("bearer" = ["member"])),
    params(("id" = Uuid, Path, description = "The workspace"), ("terminal_id" = Uuid, Path)),
    responses(
        (status = 101, description = "The socket is open", headers(
            ("Sec-WebSocket-Protocol" = String, description = "`coditect.terminal.v1`, where the client offered it"),
        )),
        (status = 400, description = "The request is no proper WebSocket handshake"),
        (status = 426, description = "The request asks for no WebSocket, or for another version of it", headers(
            ("Upgrade" = String, description = "`websocket`"),
            ("Sec-WebSocket-Version" = String, description = "`13`"),
        )),
        (status = 429, description = "The terminal has as many viewers as it may have"),
    )
)]
fn attach() {}
