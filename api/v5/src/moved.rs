//! What answers a path or a method that does not exist: for those that clients of the old API call, where to go instead.

use http::{Method, Uri};

use crate::PREFIX;
use crate::error::ApiError;

/// How much of a client's own path is shown again, in characters.
const MAX_SHOWN: usize = 200;

/// Method and path, below [`PREFIX`], that clients of old called, and what it is now.
const MOVED: &[(Method, &str, &str)] = &[
    (Method::POST, "/sessions/create", "POST /api/v5/sessions"),
    (Method::GET, "/sessions/list", "GET /api/v5/sessions"),
    (Method::POST, "/conversations/create", "POST /api/v5/conversations"),
    (Method::GET, "/conversations/list", "GET /api/v5/conversations"),
    (Method::POST, "/agents/create", "POST /api/v5/agents"),
    (Method::GET, "/agents/list", "GET /api/v5/agents"),
    (Method::POST, "/users/register", "POST /api/v5/auth/register"),
    (Method::POST, "/users/login", "POST /api/v5/auth/login"),
    (Method::POST, "/register", "POST /api/v5/auth/register"),
    (Method::POST, "/login", "POST /api/v5/auth/login"),
    (Method::POST, "/logout", "POST /api/v5/auth/logout"),
    (Method::POST, "/refresh", "POST /api/v5/auth/refresh"),
    (Method::POST, "/auth/signup", "POST /api/v5/auth/register"),
    (Method::POST, "/auth/signin", "POST /api/v5/auth/login"),
    (Method::POST, "/auth/token/refresh", "POST /api/v5/auth/refresh"),
    (Method::GET, "/auth/me", "GET /api/v5/users/me"),
    (Method::GET, "/me", "GET /api/v5/users/me"),
];

/// Answers a path that does not exist.
pub(crate) async fn no_path(method: Method, uri: Uri) -> ApiError {
    instead(&method, uri.path()).map_or(ApiError::NotFound, ApiError::MovedPath)
}

/// Answers a method that a path does not have.
pub(crate) async fn no_method(method: Method, uri: Uri) -> ApiError {
    instead(&method, uri.path()).map_or(ApiError::MethodNotAllowed, ApiError::MovedMethod)
}

fn instead(method: &Method, path: &str) -> Option<String> {
    // A path that exists comes without the prefix it was found under.
    let path = path.strip_prefix(PREFIX).unwrap_or(path);
    if path == "/v5" || path.starts_with("/v5/") {
        // A base address that ends in the version, and a path that begins with it.
        let rest: String = path.chars().filter(char::is_ascii_graphic).take(MAX_SHOWN).collect();
        return Some(format!("{method} /api{rest}"));
    }
    let moved = MOVED.iter().find(|(old_method, old, _)| old_method == method && *old == path);
    moved.map(|(_, _, now)| (*now).to_owned())
}
