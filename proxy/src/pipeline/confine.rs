//! Keeping a request where it was let in. The gate judged the path and the method that the client sent; what a plugin
//! makes of them must not reach what the gate would have judged otherwise.

use crate::request::RequestCtx;
use crate::snapshot::{Snapshot, TargetEntry};
use http::Method;
use pingora::http::RequestHeader;

/// Whether the request still is one that was let in: on its route, in its workspace, no less safe than it was, and as it
/// came where a service in the process answers, which knows the caller.
pub(super) fn stays(snapshot: &Snapshot, ctx: &RequestCtx, request: &RequestHeader) -> bool {
    let (Some((method, arrived)), Some(route)) = (&ctx.arrived, &ctx.route) else { return false };
    let path = request.uri.path();
    if path == arrived && request.method == *method {
        return true;
    }
    if matches!(route.target, TargetEntry::Local(_)) || request.method == Method::TRACE {
        return false;
    }
    if method.is_safe() && !request.method.is_safe() {
        return false;
    }
    let found = snapshot.routes.find(path);
    let same_route = found.is_some_and(|found| found.config.prefix.text == route.config.prefix.text);
    same_route && ctx.workspace.is_none_or(|workspace| same_workspace(arrived, path, &workspace.to_string()))
}

/// Whether `path` leads to the workspace that `arrived` led to, where that one names it.
fn same_workspace(arrived: &str, path: &str, workspace: &str) -> bool {
    let Some(at) = arrived.find(workspace) else { return true };
    let head = &arrived[..at + workspace.len()];
    path.strip_prefix(head).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::same_workspace;

    #[test]
    fn a_workspace_is_its_segment_with_all_before_it() {
        let arrived = "/theia/0b7e/files";
        assert!(same_workspace(arrived, "/theia/0b7e/other", "0b7e"));
        assert!(same_workspace(arrived, "/theia/0b7e", "0b7e"));
        for other in ["/theia/1111/files", "/theia/0b7ef/files", "/theia/x/0b7e", "/theia"] {
            assert!(!same_workspace(arrived, other, "0b7e"), "{other}");
        }
        assert!(same_workspace("/theia/files", "/theia/x", "0b7e"), "a cookie named it");
    }
}
