//! `/api/v5/users/me` and `/api/v5/tenant`: a user's own account, and the end of it.

use std::sync::Arc;

use axum::extract::State;
use coditect_auth::AuthError;
use coditect_store::records::{AuditObject, Removal, User};
use coditect_store::{AuditAction, AuditEvent, By, OPERATORS};
use http::HeaderMap;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::UserResponse;
use super::present;
use super::users::{address_taken, end_logins, names, record, rename, user_object};
use crate::envelope::{Answer, Data, Empty, Versioned};
use crate::error::ApiError;
use crate::extract::{Caller, IfMatch, Json, client};
use crate::state::ApiState;
use crate::throttle::{self, Attempt};
use crate::validate;

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(get, update, leave))
        .routes(routes!(change_password))
        .routes(routes!(delete_tenant))
}

/// The fields to change.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AccountPatch {
    #[serde(default, deserialize_with = "present")]
    #[schema(format = "email", max_length = 254, nullable = false)]
    email: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(schema_with = validate::person_schema)]
    first_name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(schema_with = validate::person_schema)]
    last_name: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PasswordRequest {
    current_password: String,
    #[schema(format = "password", min_length = 8, max_length = 128)]
    new_password: String,
}

/// That it is meant.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LeaveRequest {
    /// The caller's own.
    password: String,
}

/// That it is meant, and which tenant.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TenantDeletion {
    /// The caller's own.
    password: String,
    /// The caller's own tenant, so that nobody ends another one than they think.
    tenant_id: Uuid,
}

/// Reads the caller's account.
#[utoipa::path(
    get, path = "/users/me", tag = "users", operation_id = "getMe", security(("bearer" = ["member"])),
    responses((status = 200, description = "The account", body = Answer<UserResponse>))
)]
async fn get(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
) -> Result<Versioned<UserResponse>, ApiError> {
    let user = own(&state, &caller).await?;
    Ok(Versioned(user.version, user.try_into()?))
}

/// Changes the caller's account. Tokens say the address as it was when they were made, until the next refresh or login.
#[utoipa::path(
    patch, path = "/users/me", tag = "users", operation_id = "updateMe", security(("bearer" = ["member"])),
    params(("If-Match" = Option<String>, Header, description = "The account's `ETag`")),
    request_body = AccountPatch,
    responses(
        (status = 200, description = "The account as it is now", body = Answer<UserResponse>),
        (status = 409, description = "Another user has the address"),
        (status = 412, description = "It has changed since"),
    )
)]
async fn update(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    IfMatch(version): IfMatch,
    headers: HeaderMap,
    Json(patch): Json<AccountPatch>,
) -> Result<Versioned<UserResponse>, ApiError> {
    let email = patch.email.map(|email| validate::email(&email)).transpose()?;
    if email.is_some() {
        let bucket = format!("address of {}", caller.user());
        throttle::admit(&state, Attempt::Address, &bucket, &client(&headers))?;
    }
    let first = names("firstName", patch.first_name)?;
    let last = names("lastName", patch.last_name)?;
    let now = state.clock.now_millis();
    let how = |user: &mut User| {
        let before = user.clone();
        rename(user, first.as_ref(), last.as_ref());
        if let Some(email) = &email {
            user.email.clone_from(email);
        }
        if *user != before {
            user.updated_at = now;
        }
    };
    let updated = state.repositories.users().update(caller.tenant(), caller.user(), version, how).await;
    let user = updated.map_err(address_taken)?;
    if user.updated_at == now {
        let details = email.map(|email| ("email".to_owned(), json!(email))).into_iter().collect();
        record(&state, &caller, &headers, AuditAction::UserUpdate, user_object(user.id), details).await?;
    }
    Ok(Versioned(user.version, user.try_into()?))
}

/// Gives the caller another password. All their other logins end.
#[utoipa::path(
    post, path = "/users/me/password", tag = "users", operation_id = "changePassword",
    security(("bearer" = ["member"])),
    request_body = PasswordRequest,
    responses(
        (status = 200, description = "The new password is in force", body = Answer<Empty>),
        (status = 403, description = "The current password is another: `WRONG_PASSWORD`"),
        (status = 412, description = "The account has changed meanwhile"),
    )
)]
async fn change_password(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    headers: HeaderMap,
    Json(request): Json<PasswordRequest>,
) -> Result<Data<Empty>, ApiError> {
    validate::password(&request.new_password, &caller.0.claims.email).map_err(|error| match error {
        ApiError::Validation { reason, .. } => ApiError::validation("newPassword", reason),
        error => error,
    })?;
    let confirmed = confirm(&state, &caller, &headers, request.current_password).await?;
    let hash = state.passwords.hash(SecretString::from(request.new_password)).await?;
    let (tenant, id, now) = (caller.tenant(), caller.user(), state.clock.now_millis());
    let how = |user: &mut User| {
        user.password_hash.clone_from(&hash);
        user.updated_at = now;
    };
    // Not over a password that was set, or for a user who was disabled, since the old one was confirmed.
    state.repositories.users().update(tenant, id, Some(confirmed.version), how).await?;
    end_logins(&state, tenant, id, Some(caller.0.claims.token_family)).await?;
    record(&state, &caller, &headers, AuditAction::UserPassword, user_object(id), Map::new()).await?;
    Ok(Data(Empty {}))
}

/// Ends the caller's account: workspaces, conversations, settings and logins. Whoever is a tenant's only member takes the
/// tenant along; the last owner of others hands them over, or deletes the tenant.
#[utoipa::path(
    delete, path = "/users/me", tag = "users", operation_id = "deleteMe", security(("bearer" = ["member"])),
    request_body = LeaveRequest,
    responses(
        (status = 200, description = "The account's logins have ended; the rest goes in a moment", body = Answer<Empty>),
        (status = 403, description = "The password is wrong: `WRONG_PASSWORD`"),
        (status = 409, description = "Other members would be left without an owner"),
    )
)]
async fn leave(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    headers: HeaderMap,
    Json(request): Json<LeaveRequest>,
) -> Result<Data<Empty>, ApiError> {
    confirm(&state, &caller, &headers, request.password).await?;
    let (tenant, user, now) = (caller.tenant(), caller.user(), state.clock.now_millis());
    let begun = state.repositories.removals().begin_account(tenant, user, now).await?;
    if begun.user_id.is_none() {
        return tenant_ends(&state, &caller, &headers, &begun).await;
    }
    end_logins(&state, tenant, user, None).await?;
    record(&state, &caller, &headers, AuditAction::UserDelete, user_object(user), Map::new()).await?;
    Ok(Data(Empty {}))
}

/// Ends the caller's tenant with all its members and all they have. Only the audit trail stays.
#[utoipa::path(
    delete, path = "/tenant", tag = "users", operation_id = "deleteTenant", security(("bearer" = ["owner"])),
    request_body = TenantDeletion,
    responses(
        (status = 200, description = "All its logins have ended; the rest goes in a moment", body = Answer<Empty>),
        (status = 403, description = "The password is wrong: `WRONG_PASSWORD`"),
    )
)]
async fn delete_tenant(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    headers: HeaderMap,
    Json(request): Json<TenantDeletion>,
) -> Result<Data<Empty>, ApiError> {
    if request.tenant_id != caller.tenant() {
        return Err(ApiError::validation("tenantId", "must be the id of your own tenant"));
    }
    confirm(&state, &caller, &headers, request.password).await?;
    let now = state.clock.now_millis();
    let begun = state
        .repositories
        .removals()
        .begin_tenant(By::Member(caller.user()), caller.tenant(), false, now)
        .await?;
    tenant_ends(&state, &caller, &headers, &begun).await
}

/// Ends a tenant's logins here at once (elsewhere by the change feed), and records its end where it outlives the tenant.
async fn tenant_ends(
    state: &ApiState,
    caller: &Caller,
    headers: &HeaderMap,
    removal: &Removal,
) -> Result<Data<Empty>, ApiError> {
    let tenant = removal.tenant_id;
    state.families.remove_tenant(tenant);
    let event = AuditEvent {
        tenant: OPERATORS,
        actor: Some(caller.user()),
        action: AuditAction::TenantDelete,
        object: AuditObject { kind: "tenant".into(), id: tenant.to_string() },
        address: client(headers).address,
        details: Map::from_iter([
            ("name".to_owned(), json!(removal.name)),
            ("with_audit".to_owned(), json!(removal.with_audit)),
        ]),
    };
    state.audit.record(event).await?;
    Ok(Data(Empty {}))
}

/// The caller's own record.
async fn own(state: &ApiState, caller: &Caller) -> Result<User, ApiError> {
    let user = state.repositories.users().get(caller.tenant(), caller.user()).await?;
    Ok(user.ok_or(AuthError::TokenRevoked)?)
}

/// Refuses whoever holds the caller's token without knowing the password, and lets nobody guess it here who may not do so
/// by logging in.
async fn confirm(
    state: &ApiState,
    caller: &Caller,
    headers: &HeaderMap,
    password: String,
) -> Result<User, ApiError> {
    let user = own(state, caller).await?;
    // Not the address, which the caller may change.
    let account = user.id.to_string();
    throttle::admit(state, Attempt::Password, &account, &client(headers))?;
    let verified = state.passwords.verify(SecretString::from(password), Some(&user.password_hash)).await;
    let right = verified.inspect_err(|_| throttle::give_back(state, &account))?;
    if !right {
        record(state, caller, headers, AuditAction::LoginFailed, user_object(user.id), Map::new()).await?;
        return Err(ApiError::WrongPassword);
    }
    throttle::give_back(state, &account);
    Ok(user)
}
