//! `coditect-edge user` and `coditect-edge tenant`: the people on this edge, for whoever runs it.
//!
//! They reach the store as the `store` commands do: through the socket of a running edge, or by opening it. Other edges
//! on the same store learn of what they do by the change feed.

mod args;
mod password;
mod request;
mod tenants;
mod users;

pub(crate) use self::args::{TenantArgs, UserArgs};
use self::args::{TenantCommand, UserCommand};
pub(crate) use self::password::ask_password;
use self::password::{NewPassword, new_password};
use self::request::NewUser;
pub(super) use self::request::PeopleRequest;
use super::operations::{Opened, Sink};
use super::output::{Printer, Style};
use super::protocol::{Outcome, Request};
use super::{ask, files};
use crate::cli::{ask_on_terminal, complain, say};
use anyhow::{Context, anyhow, bail};
use coditect_config::Config;
use coditect_store::records::AuditObject;
use coditect_store::{AuditAction, AuditEvent};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use uuid::Uuid;

/// Runs a command about users. Exits 0; 1 if there is no such user, or it was refused; 2 if it could not be carried out.
pub(crate) fn run_user(config: Option<&Path>, args: UserArgs) -> ExitCode {
    super::carry_out(config, "user", |config| async move { user_command(&config, args).await })
}

/// Runs a command about tenants; exits as [`run_user`].
pub(crate) fn run_tenant(config: Option<&Path>, args: TenantArgs) -> ExitCode {
    super::carry_out(config, "tenant", |config| async move { tenant_command(&config, args).await })
}

async fn user_command(config: &Config, args: UserArgs) -> anyhow::Result<bool> {
    let json = args.json;
    match args.command {
        UserCommand::Add { email, first_name, last_name, tenant, role, password } => {
            let checked = |done: Result<String, String>| done.map_err(|reason| anyhow!(reason));
            let email = checked(coditect_api::rules::email(&email))?;
            let first_name = checked(coditect_api::rules::person("--first-name", &first_name))?;
            let last_name = checked(coditect_api::rules::person("--last-name", &last_name))?;
            let NewPassword { hash: password_hash, made } = new_password(config, password, &email).await?;
            let user = NewUser { email, first_name, last_name, tenant, role, password_hash };
            let mut outcome = perform_at(config, PeopleRequest::UserAdd(user), json, users::line).await?;
            if let Some(made) = made.filter(|_| outcome.good) {
                outcome.summary["password"] = made.expose_secret().into();
            }
            Ok(told(&outcome, json, users::whole))
        }
        UserCommand::List { tenant, limit } => {
            let request = PeopleRequest::UserList { tenant, limit };
            Ok(listed(&perform_at(config, request, json, users::line).await?, limit))
        }
        UserCommand::Show { user } => one(config, PeopleRequest::UserShow { user }, json, users::whole).await,
        UserCommand::Disable { user } => {
            one(config, PeopleRequest::UserDisable { user }, json, users::whole).await
        }
        UserCommand::Enable { user } => {
            one(config, PeopleRequest::UserEnable { user }, json, users::whole).await
        }
        UserCommand::SetPassword { user, password } => {
            let NewPassword { hash: password_hash, made } = new_password(config, password, &user).await?;
            let request = PeopleRequest::UserSetPassword { user, password_hash };
            let mut outcome = perform_at(config, request, json, users::line).await?;
            if let Some(made) = made.filter(|_| outcome.good) {
                outcome.summary["password"] = made.expose_secret().into();
            }
            Ok(told(&outcome, json, users::whole))
        }
    }
}

async fn tenant_command(config: &Config, args: TenantArgs) -> anyhow::Result<bool> {
    let json = args.json;
    match args.command {
        TenantCommand::List { limit } => {
            let request = PeopleRequest::TenantList { limit };
            Ok(listed(&perform_at(config, request, json, tenants::line).await?, limit))
        }
        TenantCommand::Show { id } => {
            one(config, PeopleRequest::TenantShow { tenant: id }, json, tenants::whole).await
        }
        TenantCommand::Suspend { id, reason } => {
            let request = PeopleRequest::TenantSuspend { tenant: id, reason };
            one(config, request, json, tenants::whole).await
        }
        TenantCommand::Resume { id } => {
            one(config, PeopleRequest::TenantResume { tenant: id }, json, tenants::whole).await
        }
        TenantCommand::Export { id, file } => {
            let request = Request::People(PeopleRequest::TenantExport { tenant: id });
            files::export(config, &request, &file, json).await
        }
        TenantCommand::Delete { id, yes, with_audit } => {
            if !yes && !confirmed(config, id).await? {
                bail!("nothing was removed");
            }
            let request = PeopleRequest::TenantDelete { tenant: id, with_audit };
            one(config, request, json, tenants::removed).await
        }
    }
}

/// Whether a person on a terminal has typed which tenant is to go.
async fn confirmed(config: &Config, id: Uuid) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask on: use --yes to remove tenant {id} for good");
    }
    let shown = perform_at(config, PeopleRequest::TenantShow { tenant: id }, false, tenants::line).await?;
    complain(&if shown.good { tenants::whole(&shown.summary) } else { reason(&shown.summary) });
    ask_on_terminal("This tenant goes with all it has, for good. Type its id to go on: ");
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed).context("the terminal cannot be read")?;
    Ok(typed.trim() == id.to_string())
}

/// Has something done, and tells of it.
async fn one(
    config: &Config,
    request: PeopleRequest,
    json: bool,
    shown: fn(&Value) -> String,
) -> anyhow::Result<bool> {
    Ok(told(&perform_at(config, request, json, shown).await?, json, shown))
}

async fn perform_at(
    config: &Config,
    request: PeopleRequest,
    json: bool,
    line: fn(&Value) -> String,
) -> anyhow::Result<Outcome> {
    ask(config, &Request::People(request), &mut Printer::new(json, Style::Custom(line))).await
}

fn told(outcome: &Outcome, json: bool, shown: fn(&Value) -> String) -> bool {
    match (outcome.good, json) {
        (true, false) => say(&shown(&outcome.summary)),
        (true, true) => say(&outcome.summary.to_string()),
        (false, _) => complain(&reason(&outcome.summary)),
    }
    outcome.good
}

fn listed(outcome: &Outcome, limit: u64) -> bool {
    if outcome.summary["more"] == true {
        complain(&format!("there is more; this is the limit of {limit} lines (--limit)"));
    }
    if !outcome.good {
        complain(&reason(&outcome.summary));
    }
    outcome.good
}

fn reason(summary: &Value) -> String {
    summary["error"].as_str().unwrap_or("it was refused").to_owned()
}

/// Does what was asked for, in whatever process the store is open.
pub(super) async fn perform(
    request: &PeopleRequest,
    opened: &Opened,
    sink: &mut dyn Sink,
) -> anyhow::Result<Outcome> {
    match request {
        PeopleRequest::UserAdd(user) => users::add(opened, user).await,
        PeopleRequest::UserList { tenant, limit } => users::list(opened, *tenant, *limit, sink).await,
        PeopleRequest::UserShow { user } => users::show(opened, user).await,
        PeopleRequest::UserDisable { user } => users::set_status(opened, user, false).await,
        PeopleRequest::UserEnable { user } => users::set_status(opened, user, true).await,
        PeopleRequest::UserSetPassword { user, password_hash } => {
            users::set_password(opened, user, password_hash).await
        }
        PeopleRequest::TenantList { limit } => tenants::list(opened, *limit, sink).await,
        PeopleRequest::TenantShow { tenant } => tenants::show(opened, *tenant).await,
        PeopleRequest::TenantSuspend { tenant, reason } => {
            tenants::suspend(opened, *tenant, reason.as_deref()).await
        }
        PeopleRequest::TenantResume { tenant } => tenants::resume(opened, *tenant).await,
        PeopleRequest::TenantExport { tenant } => tenants::export(opened, *tenant, sink).await,
        PeopleRequest::TenantDelete { tenant, with_audit } => {
            tenants::delete(opened, *tenant, *with_audit, sink).await
        }
    }
}

fn good(summary: Value) -> anyhow::Result<Outcome> {
    Ok(Outcome { good: true, summary })
}

/// What was asked for is not to be had; nothing was changed.
fn refused(why: impl std::fmt::Display) -> anyhow::Result<Outcome> {
    Ok(Outcome { good: false, summary: json!({ "error": why.to_string() }) })
}

/// Records what an operator did.
async fn record(
    opened: &Opened,
    tenant: Uuid,
    action: AuditAction,
    (kind, id): (&str, Uuid),
    details: Map<String, Value>,
) -> anyhow::Result<()> {
    let object = AuditObject { kind: kind.into(), id: id.to_string() };
    let event = AuditEvent { tenant, actor: None, action, object, address: None, details };
    opened.audit.record(event).await.context("it was done, but the audit trail cannot be written")
}
