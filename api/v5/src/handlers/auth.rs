//! `/api/v5/auth`: register, log in, refresh, log out.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use coditect_auth::{AuthError, AuthSession};
use coditect_store::records::{FIRST_VERSION, Role, Tenant, TenantStatus, User, UserStatus};
use coditect_store::{AuditAction, Registration};
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode, Uri};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::login_steps::{begin_login, login_failed, new_login, refuse_suspended, rehash, rotate};
use super::rfc3339;
use super::users::UserState;
use crate::cookie::{self, CookieMode};
use crate::envelope::{Answer, Created, Data, Empty};
use crate::error::ApiError;
use crate::extract::{Caller, Json, MAX_PUBLIC_BODY_BYTES, OptionalJson, Sender};
use crate::state::ApiState;
use crate::throttle::{self, Attempt};
use crate::trail::Deed;
use crate::validate;

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RegisterRequest {
    #[schema(format = "email", max_length = 254)]
    email: String,
    #[schema(format = "password", min_length = 8, max_length = 128)]
    password: String,
    #[schema(schema_with = validate::person_schema)]
    first_name: String,
    #[schema(schema_with = validate::person_schema)]
    last_name: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LoginRequest {
    email: String,
    #[schema(format = "password")]
    password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RefreshRequest {
    refresh_token: Option<String>,
}

/// What a login, a registration and a refresh answer.
#[derive(Serialize, ToSchema)]
struct LoginResponse {
    token: String,
    /// Left out where the client keeps it in the cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    refresh_token: Option<String>,
    /// Of the access token, in seconds.
    expires_in: i64,
    user: UserResponse,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct UserResponse {
    id: Uuid,
    tenant_id: Uuid,
    email: String,
    first_name: String,
    last_name: String,
    #[schema(inline)]
    role: UserRole,
    #[schema(inline)]
    status: UserState,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// What a user may do in the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UserRole {
    /// Everything.
    Owner,
    /// Everything but what touches owners.
    Admin,
    /// What concerns the user alone.
    Member,
}

impl From<Role> for UserRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::Member => Self::Member,
        }
    }
}

impl TryFrom<User> for UserResponse {
    type Error = ApiError;

    fn try_from(user: User) -> Result<Self, ApiError> {
        Ok(Self {
            id: user.id,
            tenant_id: user.tenant_id,
            email: user.email,
            first_name: user.first_name,
            last_name: user.last_name,
            role: user.role.into(),
            status: user.status.into(),
            created_at: rfc3339(user.created_at)?,
            updated_at: rfc3339(user.updated_at)?,
        })
    }
}

/// Creates a user with a tenant of its own, and logs it in.
#[utoipa::path(
    post, path = "/auth/register", tag = "auth", operation_id = "register", security(()),
    params(("X-Coditect-Refresh" = Option<String>, Header, description = "`cookie`: the refresh token comes as an HttpOnly cookie")),
    request_body = RegisterRequest,
    responses(
        (status = 201, description = "The user, logged in", body = Answer<LoginResponse>),
        (status = 403, description = "The cookie was asked for from another origin"),
        (status = 409, description = "Another user has the address"),
    )
)]
async fn register(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    Sender(client): Sender,
    uri: Uri,
    Json(request): Json<RegisterRequest, MAX_PUBLIC_BODY_BYTES>,
) -> Result<Response, ApiError> {
    let mode = CookieMode::of(&headers, &uri)?;
    let email = validate::email(&request.email)?;
    validate::password(&request.password, &email)?;
    let first_name = validate::person("firstName", &request.first_name)?;
    let last_name = validate::person("lastName", &request.last_name)?;
    throttle::admit(&state, Attempt::Register, &email, &client)?;
    // Only to save the hash; the registration itself decides.
    if state.repositories.users().by_email(&email).await?.is_some() {
        return Err(ApiError::EmailTaken);
    }
    let password_hash = state.passwords.hash(SecretString::from(request.password)).await?;
    let now = state.clock.now_millis();
    let tenant = Tenant {
        id: state.entropy.uuid(),
        name: format!("{first_name} {last_name}"),
        status: TenantStatus::Active,
        suspended_at: None,
        reason: None,
        created_at: now,
        updated_at: now,
        version: FIRST_VERSION,
    };
    let user = User {
        id: state.entropy.uuid(),
        tenant_id: tenant.id,
        email,
        password_hash,
        first_name,
        last_name,
        role: Role::Owner,
        status: UserStatus::Active,
        created_at: now,
        updated_at: now,
        version: FIRST_VERSION,
    };
    let auth_session = new_login(&state, &user, &client);
    let registration = Registration { tenant, user, auth_session };
    state.repositories.users().register(&registration).await?;
    let Registration { user, auth_session, .. } = registration;
    throttle::give_back(&state, &user.email);
    let deed = || Deed::by_login(&auth_session, &client);
    deed().record(&state, AuditAction::UserCreate, "user", user.id).await?;
    deed().record(&state, AuditAction::Login, "family", auth_session.family).await?;
    answer(&state, mode, StatusCode::CREATED, &auth_session, user)
}

/// Logs a user in.
///
/// After too many failures even the right password answers 429, until `Retry-After` has passed.
#[utoipa::path(
    post, path = "/auth/login", tag = "auth", operation_id = "login", security(()),
    params(("X-Coditect-Refresh" = Option<String>, Header, description = "`cookie`: the refresh token comes as an HttpOnly cookie")),
    request_body = LoginRequest,
    responses(
        (status = 200, description = "The user, logged in", body = Answer<LoginResponse>),
        (status = 401, description = "The address or the password is wrong"),
        (status = 403, description = "The tenant is suspended, or the cookie was asked for from another origin"),
    )
)]
async fn login(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    Sender(client): Sender,
    uri: Uri,
    Json(request): Json<LoginRequest, MAX_PUBLIC_BODY_BYTES>,
) -> Result<Response, ApiError> {
    let mode = CookieMode::of(&headers, &uri)?;
    throttle::admit(&state, Attempt::Login, &request.email, &client)?;
    // An address or a password that nobody can have goes the same way as a wrong one, at the same cost.
    let known = match validate::email(&request.email) {
        Ok(email) => state.repositories.users().by_email(&email).await?,
        Err(_) => None,
    };
    let possible = validate::is_possible_password(&request.password);
    let stored = known.as_ref().filter(|_| possible).map(|user| user.password_hash.as_str());
    let password = SecretString::from(request.password);
    let verified = state.passwords.verify(password.clone(), stored).await;
    let matches = verified.inspect_err(|_| throttle::give_back(&state, &request.email))?;
    let user = match known {
        Some(user) if matches && user.status == UserStatus::Active => user,
        known => return Err(login_failed(&state, &request.email, known.as_ref(), &client).await),
    };
    refuse_suspended(&state, user.tenant_id).await?;
    let auth_session = new_login(&state, &user, &client);
    let user = begin_login(&state, &auth_session, user, &password).await?;
    let user = rehash(&state, user, password).await;
    throttle::give_back(&state, &request.email);
    let deed = Deed::by_login(&auth_session, &client);
    deed.record(&state, AuditAction::Login, "family", auth_session.family).await?;
    answer(&state, mode, StatusCode::OK, &auth_session, user)
}

/// Gives new tokens for a refresh token, which is then used up.
#[utoipa::path(
    post, path = "/auth/refresh", tag = "auth", operation_id = "refresh", security(()),
    params(("X-Coditect-Refresh" = Option<String>, Header, description = "`cookie`: the refresh token is in the HttpOnly cookie")),
    request_body = Option<RefreshRequest>,
    responses(
        (status = 200, description = "New tokens of the same login", body = Answer<LoginResponse>),
        (status = 401, description = "The login has ended, or the token was used before"),
        (status = 403, description = "The tenant is suspended, or the cookie counts only with the header"),
    )
)]
async fn refresh(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    Sender(client): Sender,
    uri: Uri,
    OptionalJson(request): OptionalJson<RefreshRequest, MAX_PUBLIC_BODY_BYTES>,
) -> Result<Response, ApiError> {
    let mode = CookieMode::of(&headers, &uri)?;
    let in_body = request.and_then(|request| request.refresh_token);
    let token = match (&in_body, mode) {
        (Some(token), _) => token.as_str(),
        (None, Some(_)) => cookie::token(&headers).ok_or(AuthError::MissingCredentials)?,
        (None, None) if cookie::token(&headers).is_some() => {
            return Err(ApiError::Forbidden(
                "the refresh cookie counts only with the header X-Coditect-Refresh: cookie",
            ));
        }
        (None, None) => return Err(ApiError::validation("refreshToken", "is required")),
    };
    throttle::admit_refresh(&state, &client)?;
    throttle::count_refresh(&state, &client);
    match rotate(&state, token, &client).await {
        Ok((session, user)) => {
            let deed = Deed::by_login(&session, &client);
            deed.record(&state, AuditAction::Refresh, "family", session.family).await?;
            answer(&state, mode, StatusCode::OK, &session, user)
        }
        Err(error) => {
            let refused = error.status() == StatusCode::UNAUTHORIZED;
            let mut response = error.into_response();
            if refused && mode.is_some() {
                response.headers_mut().insert(SET_COOKIE, CookieMode::expire());
            }
            Ok(response)
        }
    }
}

/// Ends the login, and every socket that was opened with it.
#[utoipa::path(
    post, path = "/auth/logout", tag = "auth", operation_id = "logout", security(("bearer" = ["member"])),
    responses((status = 200, description = "The login has ended", body = Answer<Empty>))
)]
async fn logout(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Sender(client): Sender,
) -> Result<Response, ApiError> {
    let family = caller.0.claims.token_family;
    let now = state.clock.now();
    // First what outlives this process, then what takes effect at once.
    state.repositories.auth_sessions().revoke_family(caller.tenant(), family, now).await?;
    state.families.revoke(family);
    let deed = Deed::by(&caller.0.claims, &client);
    deed.record(&state, AuditAction::Revoke, "family", family).await?;
    let mut response = Data(Empty {}).into_response();
    response.headers_mut().insert(SET_COOKIE, CookieMode::expire());
    Ok(response)
}

/// Tokens of a stored auth session, with the refresh token where the client wants it.
fn answer(
    state: &ApiState,
    mode: Option<CookieMode>,
    status: StatusCode,
    session: &AuthSession,
    user: User,
) -> Result<Response, ApiError> {
    let now = state.clock.now();
    let access = state.issuer.access(session, now)?;
    let refresh = state.issuer.refresh(session)?;
    let set_cookie =
        mode.map(|mode| mode.store(&refresh, session.family_ends_at.saturating_sub(now))).transpose()?;
    let body = LoginResponse {
        token: access.token,
        refresh_token: mode.is_none().then_some(refresh),
        expires_in: access.expires_in,
        user: user.try_into()?,
    };
    let mut response = match status {
        StatusCode::CREATED => Created(body).into_response(),
        _ => Data(body).into_response(),
    };
    if let Some(cookie) = set_cookie {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}
