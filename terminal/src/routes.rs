//! Which operation a method and a path mean.

use crate::TerminalError;
use http::Method;
use uuid::Uuid;

/// An operation of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    List,
    Attach { terminal: Uuid },
    Resize { terminal: Uuid },
    Delete { terminal: Uuid },
}

/// An operation, in the workspace it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) session: Uuid,
    pub(crate) operation: Operation,
}

impl Route {
    /// Reads `/api/v5/sessions/{id}/terminals…`; ids that are no UUIDs name nothing and are not found.
    pub(crate) fn of(method: &Method, path: &str) -> Result<Self, TerminalError> {
        const NO_PATH: TerminalError = TerminalError::NotFound("path");
        let rest = path.strip_prefix("/api/v5/sessions/").ok_or(NO_PATH)?;
        let parts: Vec<&str> = rest.splitn(5, '/').collect();
        let (session, tail) = match parts.as_slice() {
            [session, "terminals", tail @ ..] => (id(session, "workspace")?, tail),
            _ => return Err(NO_PATH),
        };
        let operation = match tail {
            [] if method == Method::POST => Operation::Create,
            [] if method == Method::GET => Operation::List,
            [] => return Err(TerminalError::MethodNotAllowed { allow: "GET, POST" }),
            [terminal] if method == Method::DELETE => Operation::Delete { terminal: terminal_id(terminal)? },
            [terminal] => {
                terminal_id(terminal)?;
                return Err(TerminalError::MethodNotAllowed { allow: "DELETE" });
            }
            [terminal, "attach"] if method == Method::GET => {
                Operation::Attach { terminal: terminal_id(terminal)? }
            }
            [terminal, "resize"] if method == Method::POST => {
                Operation::Resize { terminal: terminal_id(terminal)? }
            }
            [_, "attach"] => return Err(TerminalError::MethodNotAllowed { allow: "GET" }),
            [_, "resize"] => return Err(TerminalError::MethodNotAllowed { allow: "POST" }),
            _ => return Err(NO_PATH),
        };
        Ok(Self { session, operation })
    }
}

fn terminal_id(text: &str) -> Result<Uuid, TerminalError> {
    id(text, "terminal")
}

/// A UUID in its usual form only: the braced and the undashed one would be second names for the same thing.
fn id(text: &str, what: &'static str) -> Result<Uuid, TerminalError> {
    match Uuid::try_parse(text) {
        Ok(id) if text.len() == uuid::fmt::Hyphenated::LENGTH => Ok(id),
        _ => Err(TerminalError::NotFound(what)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const S: &str = "00000000-0000-4000-8000-000000000001";
    const T: &str = "00000000-0000-4000-8000-000000000002";

    fn of(method: Method, tail: &str) -> Result<Operation, u16> {
        let path = format!("/api/v5/sessions/{S}/{tail}");
        Route::of(&method, &path).map(|route| route.operation).map_err(|error| error.status().as_u16())
    }

    #[test]
    fn every_operation_has_one_method_and_path() {
        let terminal = T.parse().unwrap();
        assert_eq!(of(Method::POST, "terminals"), Ok(Operation::Create));
        assert_eq!(of(Method::GET, "terminals"), Ok(Operation::List));
        assert_eq!(of(Method::GET, &format!("terminals/{T}/attach")), Ok(Operation::Attach { terminal }));
        assert_eq!(of(Method::POST, &format!("terminals/{T}/resize")), Ok(Operation::Resize { terminal }));
        assert_eq!(of(Method::DELETE, &format!("terminals/{T}")), Ok(Operation::Delete { terminal }));
    }

    #[test]
    fn everything_else_is_404_or_405() {
        assert_eq!(of(Method::PUT, "terminals"), Err(405));
        assert_eq!(of(Method::GET, &format!("terminals/{T}")), Err(405));
        assert_eq!(of(Method::POST, &format!("terminals/{T}/attach")), Err(405));
        assert_eq!(of(Method::GET, &format!("terminals/{T}/resize")), Err(405));
        for path in ["", "terminal", "terminalsx", "terminals/", "terminals/x", "terminals/../x"] {
            assert_eq!(of(Method::GET, path), Err(404), "{path}");
        }
        for tail in ["signal", "attach/", "attach/x", "%61ttach", ""] {
            assert_eq!(of(Method::GET, &format!("terminals/{T}/{tail}")), Err(404), "{tail}");
        }
        let undashed = T.replace('-', "");
        assert_eq!(of(Method::DELETE, &format!("terminals/{undashed}")), Err(404));
        assert!(Route::of(&Method::GET, &format!("/api/v5x/sessions/{S}/terminals")).is_err());
        assert!(Route::of(&Method::GET, "/api/v5/sessions/x/terminals").is_err());
    }
}
