//! A tenant with something of everything, for checks that are about all models at once.

use coditect_store::records::Session;
use coditect_store::{Condition, RequestKey, SettingOwner};
use serde_json::json;
use uuid::Uuid;

use super::agents::agent;
use super::audit::entry;
use super::conversations::{conversation, message};
use super::files::{content, stock};
use super::{Data, NOW_MS};
use crate::support::{registration, session};

/// A tenant with something of everything.
pub(crate) struct Home {
    pub(crate) tenant: Uuid,
    pub(crate) user: Uuid,
    pub(crate) email: String,
    pub(crate) auth_session: Uuid,
    pub(crate) family: Uuid,
    pub(crate) session: Uuid,
    pub(crate) conversation: Uuid,
    pub(crate) message: Uuid,
    pub(crate) agent: Uuid,
    pub(crate) audit: Uuid,
}

/// How many keys a home has that hold records, and how many that are index entries.
pub(crate) const RECORDS: usize = 14;
pub(crate) const ENTRIES: usize = 17;

impl Home {
    pub(crate) async fn create(data: &Data, email: &str) -> Self {
        let repositories = &data.repositories;
        let new = registration(&*data.entropy, email);
        let (tenant, user) = (new.tenant.id, new.user.id);
        repositories.users().register(&new).await.unwrap();
        let path = Some("/work".to_owned());
        let work = Session { workspace_path: path, ..session(&*data.entropy, tenant, user, NOW_MS) };
        repositories.sessions().create(&work).await.unwrap();
        let talk = conversation(data, tenant, user, Some(work.id));
        repositories.conversations().create(&talk).await.unwrap();
        let said = message(data, "hello");
        repositories.messages().append(tenant, user, talk.id, &said, NOW_MS).await.unwrap();
        let done = entry(data, NOW_MS, Some(user), "a");
        let done = repositories.audit().append(tenant, &[done]).await.unwrap().remove(0);
        stock(data, tenant).await;
        for byte in [0, 1] {
            let (path, any) = ("src/main.rs", &Condition::Any);
            repositories.files().put(tenant, work.id, path, content(byte), any, NOW_MS).await.unwrap();
        }
        let helper = agent(data, tenant, "helper");
        repositories.agents().create(&helper).await.unwrap();
        let owner = SettingOwner::User(user);
        repositories.settings().put(tenant, owner, "theme", &json!("dark"), None, NOW_MS).await.unwrap();
        let asked = RequestKey { tenant, user, key: "k" };
        repositories.requests().claim(asked, "f", data.id(), NOW_MS).await.unwrap();
        Self {
            tenant,
            user,
            email: email.into(),
            auth_session: new.auth_session.id,
            family: new.auth_session.family,
            session: work.id,
            conversation: talk.id,
            message: said.id,
            agent: helper.id,
            audit: done.id,
        }
    }
}
