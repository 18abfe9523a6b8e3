//! The host name of its own that workspaces may have (`server.workspace_host`).
//!
//! To a browser an origin is a scheme, a host and a port. While the IDE's pages share theirs with the console, a script
//! in an IDE's page can do what the console can. With a host of their own they cannot: that host serves workspaces and
//! nothing else, and no other host serves them.

use crate::gate::Query;
use crate::snapshot::RouteEntry;
use coditect_config::Auth;
use http::Method;

/// What a request to a host that does not serve its route gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Misplaced {
    /// Nothing is there.
    NotFound,
    /// A hand-over belongs on the workspaces' host: the address to go on at. It holds the token, so it is a secret.
    HandOver(String),
}

/// Judges where a request was sent. `None`: to the right host.
pub(crate) fn judge(
    workspace_host: &str,
    host: &str,
    secure: bool,
    route: &RouteEntry,
    method: &Method,
    path: &str,
    query: &Query,
) -> Option<Misplaced> {
    let (name, port) = split(host);
    let of_workspaces = route.config.auth == Auth::Workspace;
    if name.eq_ignore_ascii_case(workspace_host) == of_workspaces {
        return None;
    }
    let prefix = route.config.prefix.text.trim_end_matches('/');
    let door = of_workspaces && *method == Method::GET && path.trim_end_matches('/') == prefix;
    match (&query.token, &query.session_id) {
        (Some(token), Some(session_id)) if door => {
            let scheme = if secure { "https" } else { "http" };
            let query: String = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("token", token)
                .append_pair("sessionId", session_id)
                .finish();
            Some(Misplaced::HandOver(format!("{scheme}://{workspace_host}{port}{prefix}/?{query}")))
        }
        _ => Some(Misplaced::NotFound),
    }
}

/// A host's name and its port with the colon, as sent.
fn split(host: &str) -> (&str, &str) {
    let end_of_name = host.rfind(']').map_or(0, |bracket| bracket + 1);
    let colon = host[end_of_name..].find(':').map_or(host.len(), |colon| end_of_name + colon);
    host.split_at(colon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_split_from_its_port() {
        for (host, name, port) in [
            ("a.example", "a.example", ""),
            ("a:80", "a", ":80"),
            ("[::1]:80", "[::1]", ":80"),
            ("[::1]", "[::1]", ""),
            ("", "", ""),
        ] {
            assert_eq!(split(host), (name, port), "{host}");
        }
    }
}
