//! The hand-over: a link with a token becomes a cookie that opens one workspace.
//!
//! `GET {prefix}/?token=…&sessionId=…` verifies the token and that the workspace is the user's, sets the workspace's
//! cookie (`Path={prefix}/{sessionId}/`, HttpOnly) and redirects there, so that no token stays in the history, in logs
//! or in a `Referer`. A link that a browser followed from elsewhere than a page of ours, or that would sign in somebody
//! else than who is signed in here, is not followed without asking: a page asks, and its form comes back as a POST from an allowed origin.

use super::{Decision, Gate, Request, deny, not_found, pages};
use crate::cookies::{self, LAST_WORKSPACE, WORKSPACE};
use crate::reply::{Reply, redirect, refusal, with};
use coditect_auth::{AuthError, Identity};
use coditect_config::Route;
use http::header::{CONTENT_TYPE, REFERER, REFERRER_POLICY, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use uuid::Uuid;

/// The largest form of a confirmed hand-over, in bytes.
pub(crate) const MAX_FORM_BYTES: usize = 8 * 1024;

/// Whether the request carries a form.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        value.split(';').next().unwrap_or_default().trim() == "application/x-www-form-urlencoded"
    })
}

/// Whether a browser says that the link was not on a page of ours: it was on another site's, or on none (a mail, a chat,
/// the address bar). A page of an allowed origin that lets its `Referer` be sent is ours too.
fn comes_from_elsewhere(request: &Request<'_>) -> bool {
    let site = request.headers.get("sec-fetch-site").map(|site| site.as_bytes());
    match site {
        None | Some(b"same-origin") => false,
        Some(_) => {
            let referer = request.headers.get(REFERER).and_then(|referer| referer.to_str().ok());
            let page = referer.and_then(|referer| url::Url::parse(referer).ok());
            page.is_none_or(|page| {
                !request.origins.allows(&page.origin().ascii_serialization(), request.host)
            })
        }
    }
}

impl Gate {
    /// Follows a link, or asks first.
    pub(super) async fn handover_link(&self, route: &Route, request: &Request<'_>) -> Decision {
        let token = request.query.token.as_deref().unwrap_or_default();
        let (identity, workspace) = match self.verify(token, request.query.session_id.as_deref()).await {
            Ok(verified) => verified,
            Err(denied) => return super::or_page(request, denied),
        };
        let foreign = comes_from_elsewhere(request);
        match self.somebody_else(request, &identity).await {
            current if current.is_some() || foreign => {
                let action = format!("{}/", route.prefix.text.trim_end_matches('/'));
                let reply =
                    pages::confirm(&action, token, workspace, &identity.claims.email, current.as_deref());
                Decision::Answer { reply, code: "HANDOVER_ASKED" }
            }
            _ => self.hand_over(route, request.secure, &identity, workspace).await,
        }
    }

    /// Follows a hand-over that was confirmed by a form from an allowed origin.
    pub(crate) async fn handover_form(&self, route: &Route, secure: bool, form: &[u8]) -> Decision {
        let (mut token, mut session_id) = (None, None);
        for (name, value) in url::form_urlencoded::parse(form) {
            match &*name {
                "token" => token = Some(value.into_owned()),
                "sessionId" => session_id = Some(value.into_owned()),
                _ => {}
            }
        }
        match self.verify(token.as_deref().unwrap_or_default(), session_id.as_deref()).await {
            Ok((identity, workspace)) => self.hand_over(route, secure, &identity, workspace).await,
            Err(denied) => denied,
        }
    }

    async fn verify(&self, token: &str, session_id: Option<&str>) -> Result<(Identity, Uuid), Decision> {
        let identity = self.identify(token).await.map_err(deny)?;
        let Some(workspace) = session_id.and_then(|id| Uuid::try_parse(id).ok()) else {
            let message = "the parameter sessionId must be the id of a workspace session";
            let reply = refusal(StatusCode::BAD_REQUEST, "BAD_REQUEST", message);
            return Err(Decision::Answer { reply, code: "BAD_REQUEST" });
        };
        match self.workspaces.owned(&identity.claims, workspace).await {
            Ok(true) => Ok((identity, workspace)),
            Ok(false) => Err(not_found()),
            Err(error) => {
                tracing::error!(%error, "workspace lookup failed");
                Err(deny(AuthError::Unavailable))
            }
        }
    }

    /// The e-mail address of another user whose login is alive in this browser.
    async fn somebody_else(&self, request: &Request<'_>, identity: &Identity) -> Option<String> {
        for value in cookies::values(request.headers, LAST_WORKSPACE) {
            let Ok(last) = self.verifier.verify_last_workspace(value, self.clock.now()) else { continue };
            if last.claims.sub != identity.claims.sub && self.families.admit(&last.claims).await.is_ok() {
                return Some(last.claims.email);
            }
        }
        None
    }

    async fn hand_over(&self, route: &Route, secure: bool, identity: &Identity, workspace: Uuid) -> Decision {
        match self.cookies(route, secure, identity, workspace) {
            Ok(reply) => {
                if let Err(error) = self.workspaces.opened(&identity.claims, workspace).await {
                    // Only the order of "last opened" suffers.
                    tracing::warn!(%error, "the opening of a workspace could not be noted");
                }
                Decision::Answer { reply, code: "HANDOVER" }
            }
            Err(error) => deny(error),
        }
    }

    fn cookies(
        &self,
        route: &Route,
        secure: bool,
        identity: &Identity,
        workspace: Uuid,
    ) -> Result<Reply, AuthError> {
        let prefix = route.prefix.text.trim_end_matches('/');
        let path = format!("{prefix}/{workspace}/");
        let max_age = identity.family.ends_at().saturating_sub(self.clock.now());
        let secure = if secure { "; Secure" } else { "" };
        let attributes =
            |path: &str| format!("; Path={path}; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}");

        let pass = self.issuer.workspace_pass(identity, workspace)?;
        let last = self.issuer.last_workspace(identity, workspace)?;
        let reply = redirect(StatusCode::SEE_OTHER, &path);
        let reply = with(reply, SET_COOKIE, &format!("{WORKSPACE}={pass}{}", attributes(&path)));
        let reply = with(reply, SET_COOKIE, &format!("{LAST_WORKSPACE}={last}{}", attributes(prefix)));
        Ok(with(reply, REFERRER_POLICY, "no-referrer"))
    }
}
