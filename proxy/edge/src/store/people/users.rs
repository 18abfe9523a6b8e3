//! What the commands do to users, and how they show them.

use super::request::NewUser;
use super::{good, record, refused};
use crate::store::operations::{Opened, Sink};
use crate::store::people::args::RoleName;
use crate::store::protocol::Outcome;
use coditect_store::records::{FIRST_VERSION, Role, Tenant, TenantStatus, User, UserStatus};
use coditect_store::{AuditAction, By, MAX_PAGE, RegistrationError, UpdateError};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// A user as JSON, without the password's hash.
fn shown(user: &User) -> Value {
    json!({
        "id": user.id, "tenant_id": user.tenant_id, "email": user.email, "first_name": user.first_name,
        "last_name": user.last_name, "role": user.role, "status": user.status, "created_at": user.created_at,
        "updated_at": user.updated_at, "version": user.version,
    })
}

fn text<'a>(user: &'a Value, field: &str) -> &'a str {
    user[field].as_str().unwrap_or_default()
}

/// A user in a line of a list.
pub(super) fn line(user: &Value) -> String {
    format!(
        "{}/{}  {:<6}  {:<8}  {}",
        text(user, "tenant_id"),
        text(user, "id"),
        text(user, "role"),
        text(user, "status"),
        text(user, "email")
    )
}

/// A user in some lines.
pub(super) fn whole(user: &Value) -> String {
    let mut lines = format!(
        "user    {}\nname    {} {}\nid      {}\ntenant  {}\nrole    {}, {}",
        text(user, "email"),
        text(user, "first_name"),
        text(user, "last_name"),
        text(user, "id"),
        text(user, "tenant_id"),
        text(user, "role"),
        text(user, "status")
    );
    if let Some(password) = user["password"].as_str() {
        lines += &format!("\npassword  {password}  (it is shown this once)");
    }
    lines
}

/// The user that was named, by address or as TENANT/USER.
async fn find(opened: &Opened, name: &str) -> anyhow::Result<Option<User>> {
    let users = opened.repositories.users();
    let ids = name.split_once('/').map(|(tenant, user)| (Uuid::try_parse(tenant), Uuid::try_parse(user)));
    Ok(match ids {
        Some((Ok(tenant), Ok(user))) => users.get(tenant, user).await?,
        _ => users.by_email(name).await?,
    })
}

fn nobody(name: &str) -> anyhow::Result<Outcome> {
    refused(format_args!("there is no user {name}"))
}

pub(super) async fn add(opened: &Opened, new: &NewUser) -> anyhow::Result<Outcome> {
    let now = opened.clock.now_millis();
    let user = User {
        id: opened.entropy.uuid(),
        tenant_id: new.tenant.unwrap_or_else(|| opened.entropy.uuid()),
        email: new.email.clone(),
        password_hash: new.password_hash.clone(),
        first_name: new.first_name.clone(),
        last_name: new.last_name.clone(),
        role: match (new.tenant, new.role) {
            (None, _) | (_, RoleName::Owner) => Role::Owner,
            (_, RoleName::Admin) => Role::Admin,
            (_, RoleName::Member) => Role::Member,
        },
        status: UserStatus::Active,
        created_at: now,
        updated_at: now,
        version: FIRST_VERSION,
    };
    let users = opened.repositories.users();
    let taken = || refused(format_args!("another user has the address {}", user.email));
    match new.tenant {
        Some(tenant) => match users.add(By::Operator, &user).await {
            Ok(()) => {}
            Err(UpdateError::NotFound) => return refused(format_args!("there is no tenant {tenant}")),
            Err(UpdateError::Taken) => return taken(),
            Err(error) => return Err(error.into()),
        },
        None => match users.found(&own_tenant(&user), &user).await {
            Ok(()) => {}
            Err(RegistrationError::EmailTaken) => return taken(),
            Err(error) => return Err(error.into()),
        },
    }
    let details = Map::from_iter([("role".to_owned(), json!(user.role))]);
    record(opened, user.tenant_id, AuditAction::UserCreate, ("user", user.id), details).await?;
    good(shown(&user))
}

/// A tenant for a user alone, as a registration makes it.
fn own_tenant(user: &User) -> Tenant {
    Tenant {
        id: user.tenant_id,
        name: format!("{} {}", user.first_name, user.last_name),
        status: TenantStatus::Active,
        suspended_at: None,
        reason: None,
        created_at: user.created_at,
        updated_at: user.updated_at,
        version: FIRST_VERSION,
    }
}

pub(super) async fn list(
    opened: &Opened,
    tenant: Option<Uuid>,
    limit: u64,
    sink: &mut dyn Sink,
) -> anyhow::Result<Outcome> {
    let mut left = limit;
    let mut more = false;
    if let Some(tenant) = tenant {
        if opened.repositories.tenants().get(tenant).await?.is_none() {
            return refused(format_args!("there is no tenant {tenant}"));
        }
        more = list_of(opened, tenant, &mut left, sink).await?;
    } else {
        let mut after = None;
        while !more {
            let page = opened.repositories.tenants().list(after, MAX_PAGE).await?;
            for tenant in &page.items {
                more = list_of(opened, tenant.id, &mut left, sink).await?;
                if more {
                    break;
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    good(json!({ "listed": limit - left, "more": more }))
}

/// Lists a tenant's users as far as there is room; true if there are more.
async fn list_of(opened: &Opened, tenant: Uuid, left: &mut u64, sink: &mut dyn Sink) -> anyhow::Result<bool> {
    let mut after = None;
    loop {
        let page = opened.repositories.users().list(tenant, after, MAX_PAGE).await?;
        let room = usize::try_from(*left).unwrap_or(usize::MAX);
        let items: Vec<_> = page.items.iter().take(room).map(shown).collect();
        let all = items.len() == page.items.len();
        *left -= items.len() as u64;
        sink.items(items).await?;
        after = page.next;
        if !all || after.is_none() {
            return Ok(!all);
        }
    }
}

pub(super) async fn show(opened: &Opened, name: &str) -> anyhow::Result<Outcome> {
    match find(opened, name).await? {
        Some(user) => good(shown(&user)),
        None => nobody(name),
    }
}

pub(super) async fn set_status(opened: &Opened, name: &str, active: bool) -> anyhow::Result<Outcome> {
    let Some(user) = find(opened, name).await? else { return nobody(name) };
    let (users, now) = (opened.repositories.users(), opened.clock.now_millis());
    let (tenant, id) = (user.tenant_id, user.id);
    let done = match active {
        false => users.disable(By::Operator, tenant, id, None, now).await.map(|(user, _)| user),
        true => {
            let enable = |user: &mut User| {
                if user.status != UserStatus::Active {
                    user.status = UserStatus::Active;
                    user.updated_at = now;
                }
            };
            users.administer(By::Operator, tenant, id, None, enable).await
        }
    };
    let user = match done {
        Ok(user) => user,
        Err(UpdateError::NotFound) => return nobody(name),
        Err(UpdateError::LastOwner) => {
            return refused(format_args!(
                "{name} is the last owner of tenant {tenant}: suspend the tenant, or make another member an owner"
            ));
        }
        Err(error) => return Err(error.into()),
    };
    let details = Map::from_iter([("status".to_owned(), json!(user.status))]);
    record(opened, tenant, AuditAction::UserUpdate, ("user", id), details).await?;
    good(shown(&user))
}

pub(super) async fn set_password(opened: &Opened, name: &str, hash: &str) -> anyhow::Result<Outcome> {
    let Some(user) = find(opened, name).await? else { return nobody(name) };
    let (users, now) = (opened.repositories.users(), opened.clock.now_millis());
    let how = |user: &mut User| {
        hash.clone_into(&mut user.password_hash);
        user.updated_at = now;
    };
    let user = match users.update(user.tenant_id, user.id, None, how).await {
        Ok(user) => user,
        Err(UpdateError::NotFound) => return nobody(name),
        Err(error) => return Err(error.into()),
    };
    users.revoke_logins(user.tenant_id, user.id, None, now).await?;
    record(opened, user.tenant_id, AuditAction::UserPassword, ("user", user.id), Map::new()).await?;
    good(shown(&user))
}
