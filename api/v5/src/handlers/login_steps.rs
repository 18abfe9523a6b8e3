//! What a login and a refresh are made of, step by step; [`super::auth`] has the operations.

use coditect_auth::{AuthError, AuthSession};
use coditect_store::records::{TenantStatus, User, UserStatus, normalise_email};
use coditect_store::{AuditAction, Client, OPERATORS, Rotated, UpdateError};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::ApiError;
use crate::state::ApiState;
use crate::trail::Deed;

/// The auth session a refresh token entitles to, and its user.
pub(super) async fn rotate(
    state: &ApiState,
    token: &str,
    client: &Client,
) -> Result<(AuthSession, User), ApiError> {
    let id = state.issuer.parse_refresh(token)?;
    let grace = state.auth.refresh_grace_seconds;
    let now = state.clock.now();
    let session = match state.repositories.auth_sessions().rotate(id, grace, now, client).await? {
        Rotated::Issued(session) => session,
        Rotated::Reused { family, tenant } => {
            state.families.revoke(family);
            let deed = Deed::by_nobody(tenant, client);
            deed.record(state, AuditAction::RefreshReused, "family", family).await?;
            tracing::warn!(%family, "a rotated refresh token was used again; its family is revoked");
            return Err(AuthError::TokenRevoked.into());
        }
        Rotated::Revoked | Rotated::NotFound => return Err(AuthError::TokenRevoked.into()),
        Rotated::Suspended => return Err(AuthError::TenantSuspended.into()),
        Rotated::Ended => return Err(AuthError::TokenExpired.into()),
    };
    let user = state.repositories.users().get(session.tenant_id, session.user_id).await?;
    let user = user.filter(|user| user.status == UserStatus::Active);
    Ok((session, user.ok_or(AuthError::TokenRevoked)?))
}

/// Stores a login whose password was verified; gives the user as it is now. Between the two the password may have been
/// changed, which ends the attempt, or only hashed anew by another login: then it is verified once more.
pub(super) async fn begin_login(
    state: &ApiState,
    session: &AuthSession,
    user: User,
    password: &SecretString,
) -> Result<User, ApiError> {
    let logins = state.repositories.auth_sessions();
    match logins.log_in(session, &user.password_hash, session.created_at).await {
        Ok(()) => return Ok(user),
        Err(UpdateError::NotAllowed) => {}
        Err(error) => return Err(error.into()),
    }
    let now = state.repositories.users().get(user.tenant_id, user.id).await?;
    let now =
        now.filter(|now| now.password_hash != user.password_hash).ok_or(ApiError::InvalidCredentials)?;
    if !state.passwords.verify(password.clone(), Some(&now.password_hash)).await? {
        return Err(ApiError::InvalidCredentials);
    }
    match logins.log_in(session, &now.password_hash, session.created_at).await {
        Ok(()) => Ok(now),
        Err(UpdateError::NotAllowed) => Err(ApiError::InvalidCredentials),
        Err(error) => Err(error.into()),
    }
}

/// Records a login that was refused, and gives the refusal, which does not tell why. Whoever is asked for, one entry is
/// written: in the trail of the user's tenant, or in the operators' with no more than a hash of the address.
pub(super) async fn login_failed(
    state: &ApiState,
    email: &str,
    known: Option<&User>,
    client: &Client,
) -> ApiError {
    let recorded = match known {
        Some(user) => {
            let deed = Deed::by_nobody(user.tenant_id, client);
            deed.record(state, AuditAction::LoginFailed, "user", user.id).await
        }
        None => {
            let hash = hex::encode(Sha256::digest(normalise_email(email)));
            Deed::by_nobody(OPERATORS, client).record(state, AuditAction::LoginFailed, "address", hash).await
        }
    };
    recorded.err().unwrap_or(ApiError::InvalidCredentials)
}

/// Stores a new hash where the stored one is weaker than configured: only now is the password known. What keeps it from
/// being stored never keeps anybody from signing in; the next login tries again.
pub(super) async fn rehash(state: &ApiState, user: User, password: SecretString) -> User {
    if !state.passwords.needs_rehash(&user.password_hash) {
        return user;
    }
    let hash = match state.passwords.hash(password).await {
        Ok(hash) => hash,
        Err(error) => {
            tracing::debug!(user = %user.id, %error, "a password hash was not renewed");
            return user;
        }
    };
    // Not over a password that was set meanwhile.
    let store = |stored: &mut User| {
        if stored.password_hash == user.password_hash {
            stored.password_hash.clone_from(&hash);
        }
    };
    match state.repositories.users().update(user.tenant_id, user.id, None, store).await {
        Ok(stored) => stored,
        Err(error) => {
            tracing::warn!(user = %user.id, %error, "a renewed password hash could not be stored");
            user
        }
    }
}

/// Refuses members of a suspended tenant. Not before the right password: nobody else is told.
pub(super) async fn refuse_suspended(state: &ApiState, tenant: Uuid) -> Result<(), ApiError> {
    match state.repositories.tenants().get(tenant).await?.map(|tenant| tenant.status) {
        Some(TenantStatus::Active) => Ok(()),
        Some(TenantStatus::Suspended) => Err(AuthError::TenantSuspended.into()),
        // It is being removed, and its users' addresses go last.
        None => Err(ApiError::InvalidCredentials),
    }
}

/// The first auth session of a new family.
pub(super) fn new_login(state: &ApiState, user: &User, client: &Client) -> AuthSession {
    let now = state.clock.now();
    AuthSession {
        id: state.entropy.uuid(),
        family: state.entropy.uuid(),
        user_id: user.id,
        tenant_id: user.tenant_id,
        email: user.email.clone(),
        created_at: now,
        family_ends_at: now.saturating_add(state.auth.family_seconds),
        rotated: None,
        user_agent: client.user_agent.clone(),
        address: client.address.clone(),
    }
}
