//! Who may call which operation: what each operation's own statement in the document says, enforced before its handler.
//!
//! The statement is the operation's `security`: `()` for everybody, or `("bearer" = ["<role>"])`, in the sense OpenAPI
//! 3.1 gives the roles of schemes other than OAuth ("role names required for the execution"). An operation without one
//! is refused to everybody, and so is a route that is not in the document.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use coditect_auth::{AuthError, Claims, Identity};
use coditect_store::records::Role;
use http::Method;
use serde_json::Value;

use crate::PREFIX;
use crate::error::ApiError;
use crate::extract::Caller;
use crate::state::ApiState;

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody.
    Public,
    /// Whoever is signed in. What is another user's or another tenant's is not there for them.
    Member,
    /// An owner or admin of the tenant.
    Admin,
    /// An owner of the tenant.
    Owner,
    /// An owner or admin of the operators' tenant.
    Operator,
    /// An owner of the tenant, or an operator; which of them it takes depends on what is asked for.
    OwnerOrOperator,
}

impl Access {
    /// Reads the `security` of an operation; `None` if it states nothing that is known here.
    fn stated(security: &Value) -> Option<Self> {
        match security.as_array()?.as_slice() {
            [requirement] => Self::required(requirement),
            [one, other] => match (Self::required(one)?, Self::required(other)?) {
                (Self::Owner, Self::Operator) => Some(Self::OwnerOrOperator),
                _ => None,
            },
            _ => None,
        }
    }

    /// Reads one of the alternatives of an operation's `security`.
    fn required(requirement: &Value) -> Option<Self> {
        let requirement = requirement.as_object()?;
        if requirement.is_empty() {
            return Some(Self::Public);
        }
        let [role] = requirement.get("bearer")?.as_array()?.as_slice() else { return None };
        match role.as_str()? {
            "member" => Some(Self::Member),
            "admin" => Some(Self::Admin),
            "owner" => Some(Self::Owner),
            "operator" => Some(Self::Operator),
            _ => None,
        }
    }
}

/// The accesses of all operations, by path and method.
#[derive(Debug, Default)]
pub(crate) struct AccessTable(HashMap<String, Vec<(Method, Access)>>);

impl AccessTable {
    /// The table of a document, with paths as the router has them.
    pub(crate) fn of(document: &utoipa::openapi::OpenApi) -> Self {
        let document = serde_json::to_value(&document.paths).unwrap_or_default();
        let mut table = Self::default();
        for (path, item) in document.as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let method = Method::from_bytes(method.to_uppercase().as_bytes());
                if let (Ok(method), Some(access)) = (method, Access::stated(&operation["security"])) {
                    table.0.entry(format!("{PREFIX}{path}")).or_default().push((method, access));
                }
            }
        }
        table
    }

    /// What an operation states; a HEAD that is not stated for itself is a GET.
    pub(crate) fn find(&self, path: &str, method: &Method) -> Option<Access> {
        let operations = self.0.get(path)?;
        let stated = |wanted: &Method| {
            operations.iter().find(|(method, _)| method == wanted).map(|(_, access)| *access)
        };
        stated(method).or_else(|| (*method == Method::HEAD).then(|| stated(&Method::GET))?)
    }
}

/// What [`enforce`] works with.
pub(crate) struct Enforcement {
    pub(crate) table: AccessTable,
    pub(crate) state: Arc<ApiState>,
}

/// Lets a request through if its operation's statement says so.
pub(crate) async fn enforce(
    State(enforcement): State<Arc<Enforcement>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    let access = enforcement.table.find(path, request.method());
    let identity = request.extensions().get::<Identity>();
    match check(&enforcement.state, access, identity).await {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Whether a caller has an access, by the role they have now.
pub(crate) async fn check(
    state: &ApiState,
    access: Option<Access>,
    identity: Option<&Identity>,
) -> Result<(), ApiError> {
    let access = access.ok_or(ApiError::Forbidden("this operation is open to nobody"))?;
    if access == Access::Public {
        return Ok(());
    }
    let claims = &identity.ok_or(AuthError::MissingCredentials)?.claims;
    if access == Access::Member {
        return Ok(());
    }
    let role = role(state, claims).await?;
    let operates =
        matches!(role, Role::Owner | Role::Admin) && state.auth.operator_tenant == Some(claims.tenant_id);
    let allowed = match access {
        Access::Public | Access::Member => true,
        Access::Admin => matches!(role, Role::Owner | Role::Admin),
        Access::Owner => role == Role::Owner,
        Access::Operator => operates,
        Access::OwnerOrOperator => role == Role::Owner || operates,
    };
    if allowed { Ok(()) } else { Err(ApiError::Forbidden("your role does not allow this")) }
}

/// For an operation of which a part asks for more than its statement does: refuses all but owners and admins.
///
/// # Errors
/// [`ApiError::Forbidden`] with `why`, which says what only they may do.
pub(crate) async fn require_admin(
    state: &ApiState,
    caller: &Caller,
    why: &'static str,
) -> Result<(), ApiError> {
    match role(state, &caller.0.claims).await? {
        Role::Owner | Role::Admin => Ok(()),
        Role::Member => Err(ApiError::Forbidden(why)),
    }
}

/// The caller's role now, which may be another than when the token was made.
async fn role(state: &ApiState, claims: &Claims) -> Result<Role, ApiError> {
    let user = state.repositories.users().get(claims.tenant_id, claims.sub).await?;
    Ok(user.ok_or(AuthError::TokenRevoked)?.role)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_stated_in_so_many_words_is_no_access() {
        for (security, access) in [
            (json!([{}]), Some(Access::Public)),
            (json!([{"bearer": ["member"]}]), Some(Access::Member)),
            (json!([{"bearer": ["owner"]}]), Some(Access::Owner)),
            (json!([{"bearer": ["owner"]}, {"bearer": ["operator"]}]), Some(Access::OwnerOrOperator)),
            (json!([{"bearer": ["owner"]}, {"bearer": ["member"]}]), None),
            (json!(null), None),
            (json!([]), None),
            (json!([{"bearer": []}]), None),
            (json!([{"bearer": ["anybody"]}]), None),
            (json!([{"cookie": ["member"]}]), None),
            (json!([{}, {"bearer": ["member"]}]), None),
        ] {
            assert_eq!(Access::stated(&security), access, "{security}");
        }
    }
}
