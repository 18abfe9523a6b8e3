//! Who may pass: credentials, the state of the login behind them, and the page a browser sends from.
//!
//! The gate denies by default. It runs on every request of every route, whatever its method or its `Upgrade` header
//! says. What it cannot determine, it refuses.

mod credentials;
mod handover;
mod origin;
mod pages;
mod tickets;
mod workspaces;

pub(crate) use credentials::{Query, split};
pub(crate) use handover::MAX_FORM_BYTES;
pub(crate) use origin::{FromPage, Origins};
pub(crate) use workspaces::WorkspaceEnd;
pub use workspaces::{WorkspaceEnds, Workspaces};

use crate::cookies;
use crate::reply::{BoxError, Reply, refusal};
use crate::route::below;
use coditect_auth::{
    AuthError, Clock, Families, Identity, TicketLedger, TokenIssuer, TokenVerifier, VerifiedToken,
};
use coditect_config::{Auth, PathPattern, Route};
use http::{HeaderMap, Method, StatusCode};
use quick_cache::sync::Cache;
use std::sync::Arc;
use uuid::Uuid;
use workspaces::KnownWorkspaces;

/// Verified access tokens that are remembered; about 1 KiB each.
const VERIFIED_TOKENS: usize = 10_000;

/// What the gate decides with; shared by all requests.
pub struct Gate {
    verifier: TokenVerifier,
    issuer: Arc<TokenIssuer>,
    families: Arc<Families>,
    workspaces: KnownWorkspaces,
    tickets: Arc<dyn TicketLedger>,
    clock: Arc<dyn Clock>,
    /// Access tokens whose signature was found good: checking one costs more than all else the gate does. None counts
    /// any more once the keys have changed.
    verified: Cache<Box<str>, VerifiedToken>,
}

/// What the gate looks at.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    /// Without the query.
    pub(crate) path: &'a str,
    pub(crate) query: &'a Query,
    pub(crate) headers: &'a HeaderMap,
    /// The authority the request was sent to.
    pub(crate) host: &'a str,
    /// Whether it asks for another protocol on this connection.
    pub(crate) upgrade: bool,
    /// Whether the client's side is encrypted.
    pub(crate) secure: bool,
    pub(crate) origins: &'a Origins,
}

/// Who credentials say the caller is.
struct Credentials {
    identity: Identity,
    /// The one workspace they are for.
    only: Option<Uuid>,
}

impl From<Identity> for Credentials {
    fn from(identity: Identity) -> Self {
        Self { identity, only: None }
    }
}

/// The gate's decision.
pub(crate) enum Decision {
    /// Go on.
    Pass(Pass),
    /// Answer this; `code` is for the log.
    Answer { reply: Reply, code: &'static str },
    /// A person confirmed a hand-over: read the form (see [`Gate::handover_form`]).
    ReadForm,
}

/// What is known of a request that passes.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    /// The caller; none on public paths.
    pub(crate) identity: Option<Identity>,
    /// The workspace a workspace route leads to.
    pub(crate) workspace: Option<Uuid>,
    /// Whether that workspace stands in the path, after the route's prefix.
    pub(crate) workspace_in_path: bool,
    /// The end of that workspace, for an upgrade.
    pub(crate) workspace_end: Option<WorkspaceEnd>,
}

impl Gate {
    /// A gate that verifies with `verifier`, mints workspace cookies with `issuer` and asks `families`, `workspaces` and
    /// `tickets` for what lives, whose it is and what was used; `ends` tells it, and the sockets it lets pass, which
    /// workspaces end.
    pub fn new(
        verifier: TokenVerifier,
        issuer: Arc<TokenIssuer>,
        families: Arc<Families>,
        workspaces: Arc<dyn Workspaces>,
        ends: WorkspaceEnds,
        tickets: Arc<dyn TicketLedger>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let workspaces = KnownWorkspaces::new(workspaces, Arc::clone(&clock), ends);
        let verified = Cache::new(VERIFIED_TOKENS);
        Self { verifier, issuer, families, workspaces, tickets, clock, verified }
    }

    /// What others verify our tokens with, as a JWK set; `None` where they are signed with a secret.
    pub(crate) fn public_keys(&self) -> Option<String> {
        self.verifier.public_keys()
    }

    /// Decides about a request of `route`.
    pub(crate) async fn admit(&self, route: &Route, request: &Request<'_>) -> Decision {
        let page = request.origins.judge(request.headers, request.host);
        if request.upgrade && page == FromPage::Refused {
            return deny_origin();
        }
        if route.auth == Auth::Public || is_public(route, request) {
            return Decision::Pass(Pass::default());
        }
        match route.auth {
            Auth::Public => Decision::Pass(Pass::default()),
            Auth::Jwt => match self.token(request).await {
                Ok(shown) => Decision::Pass(Pass { identity: Some(shown.identity), ..Pass::default() }),
                Err(error) => deny(error),
            },
            Auth::Workspace => self.workspace(route, request, page).await,
        }
    }

    /// A token in the header, or, since browsers cannot set headers on a WebSocket, a token or a ticket in an upgrade's
    /// query.
    async fn token(&self, request: &Request<'_>) -> Result<Credentials, AuthError> {
        let token = match credentials::bearer(request.headers) {
            Some(bearer) => bearer?,
            None if request.upgrade => match (&request.query.token, &request.query.ticket) {
                (Some(token), _) => token,
                (None, Some(ticket)) => return self.redeem(ticket, request.path).await,
                (None, None) => return Err(AuthError::MissingCredentials),
            },
            None => return Err(AuthError::MissingCredentials),
        };
        self.identify(token).await.map(Credentials::from)
    }

    /// The live caller behind an access token.
    async fn identify(&self, token: &str) -> Result<Identity, AuthError> {
        let now = self.clock.now();
        let known = self.verified.get(token).filter(|known| self.verifier.holds(known, now));
        let claims = match known {
            Some(known) => known.claims,
            None => {
                let verified = self.verifier.examine(token, now)?;
                self.verified.insert(token.into(), verified.clone());
                verified.claims
            }
        };
        // Asked each time: a signature stays good, a login does not.
        let family = self.families.admit(&claims).await?;
        Ok(Identity { claims, family })
    }

    async fn workspace(&self, route: &Route, request: &Request<'_>, page: FromPage) -> Decision {
        let place = Place::of(&route.prefix, request.path);
        if place.is_door() && !request.upgrade {
            if request.method == Method::GET && request.query.token.is_some() {
                return self.handover_link(route, request).await;
            }
            if request.method == Method::POST && handover::is_form(request.headers) {
                return if page == FromPage::Allowed { Decision::ReadForm } else { deny_origin() };
            }
        }
        let credentials = match self.token(request).await {
            Err(AuthError::MissingCredentials) => match place.workspace {
                Some(workspace) => self.cookie(request, page, workspace).await.map(Credentials::from),
                None => return self.last_opened(route, request, &place).await,
            },
            found => found.map_err(deny),
        };
        match credentials {
            Ok(shown) => self.enter(route, request, shown, place).await,
            Err(denied) => or_page(request, denied),
        }
    }

    /// The caller behind the cookie of `workspace`. What it authenticates must come from an allowed page.
    async fn cookie(
        &self,
        request: &Request<'_>,
        page: FromPage,
        workspace: Uuid,
    ) -> Result<Identity, Decision> {
        let mut refused = AuthError::MissingCredentials;
        for value in cookies::values(request.headers, cookies::WORKSPACE) {
            let found = match self.verifier.verify_workspace_pass(value, self.clock.now()) {
                Ok(pass) if pass.workspace == workspace => {
                    let admitted = self.families.admit(&pass.claims).await;
                    admitted.map(|family| Identity { claims: Arc::new(pass.claims), family })
                }
                Ok(_) => Err(AuthError::InvalidToken),
                Err(error) => Err(error),
            };
            match found {
                Ok(identity) => {
                    let harmless = !request.upgrade && matches!(*request.method, Method::GET | Method::HEAD);
                    let allowed = harmless || page == FromPage::Allowed;
                    return if allowed { Ok(identity) } else { Err(deny_origin()) };
                }
                Err(error) => refused = error,
            }
        }
        Err(deny(refused))
    }

    /// A bare path means the workspace last opened; the cookie that remembers it opens nothing, so: a redirect.
    async fn last_opened(&self, route: &Route, request: &Request<'_>, place: &Place<'_>) -> Decision {
        let readable = !request.upgrade && matches!(*request.method, Method::GET | Method::HEAD);
        if readable {
            for value in cookies::values(request.headers, cookies::LAST_WORKSPACE) {
                let Ok(last) = self.verifier.verify_last_workspace(value, self.clock.now()) else { continue };
                if self.families.admit(&last.claims).await.is_ok() {
                    let rest = if place.rest.is_empty() { "/" } else { place.rest };
                    let query =
                        request.query.rest.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
                    let prefix = route.prefix.text.trim_end_matches('/');
                    return redirect(&format!("{prefix}/{}{rest}{query}", last.workspace), "LAST_WORKSPACE");
                }
            }
        }
        or_page(request, deny(AuthError::MissingCredentials))
    }

    /// The caller is known: the workspace must be theirs.
    async fn enter(
        &self,
        route: &Route,
        request: &Request<'_>,
        shown: Credentials,
        place: Place<'_>,
    ) -> Decision {
        let Credentials { identity, only } = shown;
        let (workspace, workspace_end) = match self.usable(request, &identity, place.workspace).await {
            Ok(Some(usable)) => usable,
            Ok(None) => return or_page(request, not_found()),
            Err(error) => {
                tracing::error!(%error, "workspace lookup failed");
                return deny(AuthError::Unavailable);
            }
        };
        if only.is_some_and(|only| only != workspace) {
            return deny(AuthError::InvalidToken);
        }
        // The IDE finds its socket beside its page, so the page has one address: with the slash, without a file name.
        if place.workspace.is_some() && matches!(place.rest, "" | "/index.html") && !request.upgrade {
            let prefix = route.prefix.text.trim_end_matches('/');
            return redirect(&format!("{prefix}/{workspace}/"), "WORKSPACE_ROOT");
        }
        let workspace_in_path = place.workspace.is_some();
        let (identity, workspace) = (Some(identity), Some(workspace));
        Decision::Pass(Pass { identity, workspace, workspace_in_path, workspace_end })
    }

    /// The workspace that is named, or was opened last, if the caller can use it; for an upgrade with its end.
    async fn usable(
        &self,
        request: &Request<'_>,
        identity: &Identity,
        named: Option<Uuid>,
    ) -> Result<Option<(Uuid, Option<WorkspaceEnd>)>, BoxError> {
        let claims = &identity.claims;
        let workspace = match named {
            Some(workspace) => workspace,
            None => match self.workspaces.last_opened(claims).await? {
                Some(workspace) => workspace,
                None => return Ok(None),
            },
        };
        // Before the question whose it is: an end after the answer is told.
        let end = request.upgrade.then(|| self.workspaces.end_of(claims, workspace));
        let owned = self.workspaces.owned(claims, workspace).await?;
        Ok(owned.then_some((workspace, end)))
    }
}

/// Where below a workspace route a path points.
struct Place<'a> {
    /// The workspace that is named by the first segment.
    workspace: Option<Uuid>,
    /// What follows it (or the prefix, where none is named).
    rest: &'a str,
}

impl<'a> Place<'a> {
    fn of(prefix: &PathPattern, path: &'a str) -> Self {
        let below = below(prefix, path);
        let first = below.strip_prefix('/').unwrap_or(below);
        let (segment, rest) = first.split_at(first.find('/').unwrap_or(first.len()));
        // Exactly the one spelling that links and cookies use; another would be another path to a browser.
        match Uuid::try_parse(segment).ok().filter(|id| id.to_string() == segment) {
            Some(workspace) => Self { workspace: Some(workspace), rest },
            None => Self { workspace: None, rest: below },
        }
    }

    /// Whether it is the prefix itself, where workspaces are opened.
    fn is_door(&self) -> bool {
        self.workspace.is_none() && matches!(self.rest, "" | "/")
    }
}

fn is_public(route: &Route, request: &Request<'_>) -> bool {
    !request.upgrade
        && route.public.iter().any(|public| {
            let head = public.method == Method::GET && *request.method == Method::HEAD;
            (public.method == *request.method || head) && public.path == request.path
        })
}

fn deny(error: AuthError) -> Decision {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    let mut reply = refusal(status, error.code(), &error.to_string());
    if status == StatusCode::UNAUTHORIZED {
        reply = crate::reply::with(reply, http::header::WWW_AUTHENTICATE, "Bearer");
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply = crate::reply::with(reply, http::header::RETRY_AFTER, "1");
    }
    Decision::Answer { reply, code: error.code() }
}

fn deny_origin() -> Decision {
    let message = "requests of this kind must come from a page of an allowed origin (server.allowed_origins)";
    Decision::Answer {
        reply: refusal(StatusCode::FORBIDDEN, "ORIGIN_NOT_ALLOWED", message),
        code: "ORIGIN_NOT_ALLOWED",
    }
}

fn not_found() -> Decision {
    let reply = refusal(StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such workspace");
    Decision::Answer { reply, code: "NOT_FOUND" }
}

fn redirect(location: &str, code: &'static str) -> Decision {
    Decision::Answer { reply: crate::reply::redirect(StatusCode::FOUND, location), code }
}

/// A person who navigates gets a page in place of JSON, with the same status.
fn or_page(request: &Request<'_>, decision: Decision) -> Decision {
    match decision {
        Decision::Answer { reply, code } if pages::is_navigation(request) => {
            Decision::Answer { reply: pages::refused(reply.status(), code), code }
        }
        other => other,
    }
}
