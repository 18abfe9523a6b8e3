//! The few pages the gate shows to a person.

use super::Request;
use crate::reply::{Reply, reply, with};
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_FRAME_OPTIONS};
use http::{Method, StatusCode};
use uuid::Uuid;

/// Nothing but its own style and a form to the edge itself; in no frame.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1.5rem;\
color:#1b1f24;background:#fff}h1{font-size:1.3rem}a,button{font:inherit}button{padding:.5rem 1rem;margin-right:.75rem}\
@media(prefers-color-scheme:dark){body{color:#e6e8eb;background:#15181c}a{color:#8ab4f8}}";

/// Whether a person's browser asked for a page.
pub(super) fn is_navigation(request: &Request<'_>) -> bool {
    let headers = request.headers;
    if request.upgrade || !matches!(*request.method, Method::GET | Method::HEAD) {
        return false;
    }
    match headers.get("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => headers
            .get(ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html")),
    }
}

/// Says why nothing is shown, and leads to the sign-in.
pub(super) fn refused(status: StatusCode, code: &str) -> Reply {
    let (title, text) = match code {
        "MISSING_AUTH_HEADER" => {
            ("Please sign in", "This workspace opens from the console, once you are signed in.")
        }
        "TOKEN_REVOKED" | "TOKEN_EXPIRED" => {
            ("Your sign-in has ended", "Sign in again and open the workspace from the console.")
        }
        "INVALID_TOKEN" => ("This link is not valid", "Open the workspace from the console."),
        "NOT_FOUND" => ("No such workspace", "It does not exist, or it is not yours."),
        "TENANT_SUSPENDED" => ("This account is suspended", "Ask whoever runs this service."),
        "UNAVAILABLE" => ("Try again in a moment", "Your sign-in could not be checked just now."),
        _ => ("This was refused", "Open the workspace from the console."),
    };
    let body = format!(
        "<h1>{title}</h1><p>{text}</p><p><a href=\"/\">To the console</a></p><p><small>{code}</small></p>"
    );
    page(status, title, &body)
}

/// Asks before a link signs somebody in here.
pub(super) fn confirm(
    action: &str,
    token: &str,
    workspace: Uuid,
    email: &str,
    current: Option<&str>,
) -> Reply {
    let now = match current {
        Some(current) => format!("You are signed in here as <strong>{}</strong>. ", escape(current)),
        None => String::new(),
    };
    let body = format!(
        "<h1>Open this workspace?</h1><p>{now}A link from another page wants to open a workspace of \
         <strong>{email}</strong> in this browser. Go on only if you started this yourself.</p>\
         <form method=\"post\" action=\"{action}\"><input type=\"hidden\" name=\"token\" value=\"{token}\">\
         <input type=\"hidden\" name=\"sessionId\" value=\"{workspace}\">\
         <button>Open as {email}</button><a href=\"/\">Cancel</a></form>",
        email = escape(email),
        action = escape(action),
        token = escape(token),
    );
    page(StatusCode::OK, "Open this workspace?", &body)
}

fn page(status: StatusCode, title: &str, body: &str) -> Reply {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{title}</title><style>{STYLE}</style><main>{body}</main></html>"
    );
    let reply = reply(status, "text/html; charset=utf-8", html);
    let reply = with(reply, CONTENT_SECURITY_POLICY, POLICY);
    let reply = with(reply, X_FRAME_OPTIONS, "DENY");
    // `same-origin`, not `no-referrer`: the form's POST must carry its Origin.
    with(reply, REFERRER_POLICY, "same-origin")
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}
