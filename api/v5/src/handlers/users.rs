//! `/api/v5/users`: the members of a tenant, as its owners and admins manage them.

use std::sync::Arc;

use axum::extract::State;
use coditect_auth::generate_password;
use coditect_store::records::{AuditObject, FIRST_VERSION, Role, User, UserStatus};
use coditect_store::{AuditAction, AuditEvent, By, UpdateError};
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::{UserResponse, UserRole};
use super::present;
use crate::envelope::{Answer, CreatedVersioned, Data, Empty, List, ListAnswer, Versioned};
use crate::error::ApiError;
use crate::extract::{Caller, Cursor, Id, IfMatch, Json, New, PageQuery, Query, client};
use crate::state::ApiState;
use crate::throttle::{self, Attempt};
use crate::validate;

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(get, update, remove))
}

/// A member to add.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MemberRequest {
    #[schema(format = "email", max_length = 254)]
    email: String,
    /// Left out, one is made, and is in the answer.
    #[schema(format = "password", min_length = 8, max_length = 128)]
    password: Option<String>,
    #[schema(schema_with = validate::person_schema)]
    first_name: String,
    #[schema(schema_with = validate::person_schema)]
    last_name: String,
    /// `member` unless it says otherwise.
    #[serde(default = "member")]
    #[schema(inline)]
    role: UserRole,
}

fn member() -> UserRole {
    UserRole::Member
}

/// The fields to change.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MemberPatch {
    #[serde(default, deserialize_with = "present")]
    #[schema(schema_with = validate::person_schema)]
    first_name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(schema_with = validate::person_schema)]
    last_name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(inline, nullable = false)]
    role: Option<UserRole>,
    /// A disabled member keeps everything and cannot log in; the logins there are end.
    #[serde(default, deserialize_with = "present")]
    #[schema(inline, nullable = false)]
    status: Option<UserState>,
}

/// Whether a user may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UserState {
    /// The user may.
    Active,
    /// The user may not.
    Disabled,
}

impl From<UserStatus> for UserState {
    fn from(status: UserStatus) -> Self {
        match status {
            UserStatus::Active => Self::Active,
            UserStatus::Disabled => Self::Disabled,
        }
    }
}

impl From<UserState> for UserStatus {
    fn from(status: UserState) -> Self {
        match status {
            UserState::Active => Self::Active,
            UserState::Disabled => Self::Disabled,
        }
    }
}

impl From<UserRole> for Role {
    fn from(role: UserRole) -> Self {
        match role {
            UserRole::Owner => Self::Owner,
            UserRole::Admin => Self::Admin,
            UserRole::Member => Self::Member,
        }
    }
}

/// A member who was added.
#[derive(Serialize, ToSchema)]
struct NewMember {
    #[serde(flatten)]
    user: UserResponse,
    /// The password that was made; shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    password: Option<String>,
}

impl MemberPatch {
    fn validate(mut self) -> Result<Self, ApiError> {
        self.first_name = names("firstName", self.first_name)?;
        self.last_name = names("lastName", self.last_name)?;
        Ok(self)
    }

    fn apply(&self, user: &mut User, now: i64) {
        let before = user.clone();
        rename(user, self.first_name.as_ref(), self.last_name.as_ref());
        if let Some(role) = self.role {
            user.role = role.into();
        }
        if let Some(status) = self.status {
            user.status = status.into();
        }
        if *user != before {
            user.updated_at = now;
        }
    }

    /// What the audit trail is told.
    fn details(&self) -> Map<String, Value> {
        let (role, status) = (self.role, self.status);
        let mut details = Map::new();
        details.extend(role.map(|role| ("role".to_owned(), json!(role))));
        details.extend(status.map(|status| ("status".to_owned(), json!(status))));
        details
    }
}

/// A name to change, checked.
pub(super) fn names(field: &'static str, name: Option<String>) -> Result<Option<String>, ApiError> {
    name.map(|name| validate::person(field, &name)).transpose()
}

pub(super) fn rename(user: &mut User, first: Option<&String>, last: Option<&String>) {
    if let Some(first) = first {
        user.first_name.clone_from(first);
    }
    if let Some(last) = last {
        user.last_name.clone_from(last);
    }
}

/// Adds a member to the caller's tenant. Admins add no owners.
///
/// There is no `Idempotency-Key` here: the request and the answer may hold a password, of which nothing is kept. Sent
/// again, it answers 409 if the member was added.
#[utoipa::path(
    post, path = "/users", tag = "users", operation_id = "addUser", security(("bearer" = ["admin"])),
    request_body = MemberRequest,
    responses(
        (status = 201, description = "The member", body = Answer<NewMember>),
        (status = 409, description = "Another user has the address"),
    )
)]
async fn add(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    New { id, now }: New,
    headers: HeaderMap,
    Json(request): Json<MemberRequest>,
) -> Result<CreatedVersioned<NewMember>, ApiError> {
    let email = validate::email(&request.email)?;
    let first_name = validate::person("firstName", &request.first_name)?;
    let last_name = validate::person("lastName", &request.last_name)?;
    // The workers that hash for this are those that logins wait for.
    let bucket = format!("members of {}", caller.tenant());
    throttle::admit(&state, Attempt::AddMember, &bucket, &client(&headers))?;
    // Only to save the hash; the store decides.
    if state.repositories.users().by_email(&email).await?.is_some() {
        return Err(ApiError::EmailTaken);
    }
    let (password, made) = match request.password {
        Some(password) => {
            validate::password(&password, &email)?;
            (SecretString::from(password), None)
        }
        None => {
            let made = generate_password(&*state.entropy);
            (made.clone(), Some(made.expose_secret().to_owned()))
        }
    };
    let user = User {
        id,
        tenant_id: caller.tenant(),
        email,
        password_hash: state.passwords.hash(password).await?,
        first_name,
        last_name,
        role: request.role.into(),
        status: UserStatus::Active,
        created_at: now,
        updated_at: now,
        version: FIRST_VERSION,
    };
    state.repositories.users().add(By::Member(caller.user()), &user).await.map_err(address_taken)?;
    let details = Map::from_iter([("role".to_owned(), json!(request.role))]);
    record(&state, &caller, &headers, AuditAction::UserCreate, user_object(id), details).await?;
    Ok(CreatedVersioned(user.version, NewMember { user: user.try_into()?, password: made }))
}

/// Lists the members of the caller's tenant.
#[utoipa::path(
    get, path = "/users", tag = "users", operation_id = "listUsers", security(("bearer" = ["admin"])),
    params(PageQuery),
    responses((status = 200, description = "A part of the list", body = ListAnswer<UserResponse>))
)]
async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Query(page): Query<PageQuery>,
) -> Result<List<UserResponse>, ApiError> {
    let found = state.repositories.users().list(caller.tenant(), page.after::<Uuid>()?, page.limit()).await?;
    let items = found.items.into_iter().map(UserResponse::try_from).collect::<Result<_, _>>()?;
    Ok(List { items, next_cursor: found.next.as_ref().map(Cursor::write) })
}

/// Reads a member.
#[utoipa::path(
    get, path = "/users/{id}", tag = "users", operation_id = "getUser", security(("bearer" = ["admin"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The member", body = Answer<UserResponse>))
)]
async fn get(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Versioned<UserResponse>, ApiError> {
    let user = state.repositories.users().get(caller.tenant(), id).await?.ok_or(ApiError::NotFound)?;
    Ok(Versioned(user.version, user.try_into()?))
}

/// Changes a member. Admins do not change owners, and make none.
#[utoipa::path(
    patch, path = "/users/{id}", tag = "users", operation_id = "updateUser", security(("bearer" = ["admin"])),
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The member's `ETag`")),
    request_body = MemberPatch,
    responses(
        (status = 200, description = "The member as it is now", body = Answer<UserResponse>),
        (status = 409, description = "No owner would be left who can log in"),
        (status = 412, description = "It has changed since"),
    )
)]
async fn update(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
    IfMatch(version): IfMatch,
    headers: HeaderMap,
    Json(patch): Json<MemberPatch>,
) -> Result<Versioned<UserResponse>, ApiError> {
    let patch = patch.validate()?;
    let (tenant, now) = (caller.tenant(), state.clock.now_millis());
    let (users, by) = (state.repositories.users(), By::Member(caller.user()));
    let user = users.administer(by, tenant, id, version, |user| patch.apply(user, now)).await?;
    if user.status == UserStatus::Disabled {
        end_logins(&state, tenant, id, None).await?;
    }
    if user.updated_at == now {
        record(&state, &caller, &headers, AuditAction::UserUpdate, user_object(id), patch.details()).await?;
    }
    Ok(Versioned(user.version, user.try_into()?))
}

/// Removes a member, with their workspaces, conversations and settings. Admins do not remove owners.
#[utoipa::path(
    delete, path = "/users/{id}", tag = "users", operation_id = "removeUser", security(("bearer" = ["admin"])),
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The member's `ETag`")),
    responses(
        (status = 200, description = "The member's logins have ended; the rest goes in a moment", body = Answer<Empty>),
        (status = 409, description = "No owner would be left who can log in"),
        (status = 412, description = "It has changed since"),
    )
)]
async fn remove(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
    IfMatch(version): IfMatch,
    headers: HeaderMap,
) -> Result<Data<Empty>, ApiError> {
    if id == caller.user() {
        let how = "your own account ends with DELETE /users/me, which asks for your password";
        return Err(ApiError::Forbidden(how));
    }
    let (tenant, now) = (caller.tenant(), state.clock.now_millis());
    let (removals, by) = (state.repositories.removals(), By::Member(caller.user()));
    removals.begin_user(by, tenant, id, version, now).await?;
    end_logins(&state, tenant, id, None).await?;
    record(&state, &caller, &headers, AuditAction::UserDelete, user_object(id), Map::new()).await?;
    Ok(Data(Empty {}))
}

/// Ends a user's logins, but for the family `kept`: in the store, then at once in this process.
pub(super) async fn end_logins(
    state: &ApiState,
    tenant: Uuid,
    user: Uuid,
    kept: Option<Uuid>,
) -> Result<(), ApiError> {
    let now = state.clock.now_millis();
    for family in state.repositories.users().revoke_logins(tenant, user, kept, now).await? {
        state.families.revoke(family);
    }
    Ok(())
}

/// Of a user, only the address can be another's.
pub(super) fn address_taken(error: UpdateError) -> ApiError {
    match error {
        UpdateError::Taken => ApiError::EmailTaken,
        error => error.into(),
    }
}

pub(super) fn user_object(id: Uuid) -> AuditObject {
    AuditObject { kind: "user".into(), id: id.to_string() }
}

/// Records what the caller did in the tenant's trail.
pub(super) async fn record(
    state: &ApiState,
    caller: &Caller,
    headers: &HeaderMap,
    action: AuditAction,
    object: AuditObject,
    details: Map<String, Value>,
) -> Result<(), ApiError> {
    let event = AuditEvent {
        tenant: caller.tenant(),
        actor: Some(caller.user()),
        action,
        object,
        address: client(headers).address,
        details,
    };
    Ok(state.audit.record(event).await?)
}
