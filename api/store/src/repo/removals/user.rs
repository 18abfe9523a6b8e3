//! What a user leaves behind: logins, workspaces, conversations, settings, requests. Agents are the tenant's and stay, and so
//! does what the audit trail says of the user.

use uuid::Uuid;

use super::super::requests::forget_user;
use super::super::token_families::sweep_span;
use super::super::{
    AuthSessions, Context, Conversations, MAX_PAGE, Sessions, SettingOwner, Settings, UpdateError,
};
use crate::error::StoreError;
use crate::keyspace::TenantFamily;
use crate::records::{Record, Session};

/// Removes all that is there; see [`super::Removals::run`].
pub(super) async fn remove(
    context: &Context,
    tenant: Uuid,
    user: Uuid,
    tell: &mut (dyn FnMut(u64) + Send),
) -> Result<(), StoreError> {
    logins(context, tenant, user, tell).await?;
    workspaces(context, tenant, user, tell).await?;
    conversations(context, tenant, user, tell).await?;
    settings(context, tenant, user, tell).await?;
    requests(context, tenant, user, tell).await
}

async fn logins(
    context: &Context,
    tenant: Uuid,
    user: Uuid,
    tell: &mut (dyn FnMut(u64) + Send),
) -> Result<(), StoreError> {
    let now = context.clock.now_millis().div_euclid(1000);
    // Revoked before they go, which tells every replica, and lets no refresh add to what goes.
    AuthSessions::new(context).revoke_user(tenant, user, now).await?;
    let keys = &context.keys;
    let scope = &keys.tenant(tenant);
    let span = &scope.span(TenantFamily::FamiliesByUser, &(user,));
    loop {
        let swept = context
            .run(|transaction| async move { sweep_span(&transaction, keys, scope, span.clone()).await });
        match swept.await? {
            0 => return Ok(()),
            rows => tell(rows),
        }
    }
}

async fn workspaces(
    context: &Context,
    tenant: Uuid,
    user: Uuid,
    tell: &mut (dyn FnMut(u64) + Send),
) -> Result<(), StoreError> {
    let sessions = Sessions::new(context);
    // Of all the tenant's, since one whose deletion was broken off is in no index.
    let all = context.keys.tenant(tenant).span(TenantFamily::Sessions, &());
    let mut scan = context.store.scan(all);
    while let Some(rows) = scan.next_page().await? {
        for row in rows {
            let session = Session::decode(&row.value)?;
            if session.user_id == user && sessions.delete(tenant, user, session.id).await? {
                tell(1);
            }
        }
    }
    Ok(())
}

async fn conversations(
    context: &Context,
    tenant: Uuid,
    user: Uuid,
    tell: &mut (dyn FnMut(u64) + Send),
) -> Result<(), StoreError> {
    let conversations = Conversations::new(context);
    loop {
        let some = conversations.by_user(tenant, user, None, MAX_PAGE).await?;
        for conversation in &some.items {
            gone(conversations.delete(tenant, user, conversation.id, None).await, "conversations")?;
            tell(1);
        }
        if some.items.is_empty() {
            return Ok(());
        }
    }
}

async fn settings(
    context: &Context,
    tenant: Uuid,
    user: Uuid,
    tell: &mut (dyn FnMut(u64) + Send),
) -> Result<(), StoreError> {
    let (settings, owner) = (Settings::new(context), SettingOwner::User(user));
    loop {
        let some = settings.list(tenant, owner, None, MAX_PAGE).await?;
        for setting in &some.items {
            gone(settings.delete(tenant, owner, &setting.key, None).await.map(drop), "settings")?;
            tell(1);
        }
        if some.items.is_empty() {
            return Ok(());
        }
    }
}

async fn requests(
    context: &Context,
    tenant: Uuid,
    user: Uuid,
    tell: &mut (dyn FnMut(u64) + Send),
) -> Result<(), StoreError> {
    let keys = &context.keys;
    let scope = &keys.tenant(tenant);
    loop {
        let step = |transaction| async move { forget_user(&transaction, keys, scope, user).await };
        match context.run(step).await? {
            0 => return Ok(()),
            forgotten => tell(forgotten as u64),
        }
    }
}

/// What is gone already needs no removal.
fn gone(removed: Result<(), UpdateError>, family: &'static str) -> Result<(), StoreError> {
    match removed {
        Ok(()) | Err(UpdateError::NotFound) => Ok(()),
        Err(error) => Err(error.into_store_error(family)),
    }
}
