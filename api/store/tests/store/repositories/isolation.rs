//! Whatever a tenant hands to the repositories, no other tenant's data changes or shows.

use std::collections::BTreeMap;

use bytes::Bytes;
use coditect_auth::Entropy;
use coditect_store::records::{Agent, AuditObject, Session, StatePart, StoredAnswer, User};
use coditect_store::{
    By, Client, Condition, DirectoryEntry, FileError, Fork, Move, NewAuditEntry, Order, RequestKey,
    SettingOwner, TimeCursor,
};
use serde_json::json;
use uuid::Uuid;

use super::agents::agent;
use super::audit::entry;
use super::conversations::{conversation, message};
use super::files::content;
use super::home::Home;
use super::{Data, NOW_MS, checks};
use crate::support::{NOW, login, session};

checks![no_input_reaches_another_tenant];

/// Up to here a text that is all NULs fits into a key.
const MAX_KEY_TEXT: usize = 4000;

/// Texts that mean something to some layer of something.
fn hostile(victim: &Home) -> Vec<String> {
    let prefix = foundationdb_tuple::pack(&("test", "tenant", victim.tenant, "users"));
    let mut texts: Vec<String> = ["", "\0", "/", "..", "../../", "\u{ff}", "\u{10ffff}", "%2F", "\0\u{ff}\0"]
        .into_iter()
        .map(str::to_owned)
        .collect();
    texts.push(victim.tenant.to_string());
    texts.push(format!("../{}/sessions/{}", victim.tenant, victim.session));
    texts.push(format!("/test/tenant/{}/users/{}", victim.tenant, victim.user));
    texts.push(String::from_utf8_lossy(&prefix).into_owned());
    texts.push("\0".repeat(3000));
    texts.push("x".repeat(20_000));
    texts
}

/// All rows that are not the attacker's: neither below its tenant's prefix, nor entries of global indexes that
/// name it, nor what tells replicas of its revocations.
async fn not_of(data: &Data, attacker: &Home) -> BTreeMap<String, Bytes> {
    let own = format!("/test/tenant/{}/", attacker.tenant);
    let registry = format!("/test/global/tenants/{}", attacker.tenant);
    let removals = format!("/test/global/removals/{}/", attacker.tenant);
    let named = foundationdb_tuple::pack(&(attacker.tenant,));
    let mut rows = data.dump_all().await;
    rows.retain(|path, value| {
        if path.starts_with("/test/global/changes") || path.starts_with(&removals) {
            return false;
        }
        let names_it = path.starts_with("/test/global/") && (*path == registry || value.starts_with(&named));
        !path.starts_with(&own) && !names_it
    });
    rows
}

async fn no_input_reaches_another_tenant(data: Data) {
    let seed = 0x150_1a7e;
    println!("seed {seed}");
    let dice = coditect_auth::SeededEntropy::new(seed);
    let victim = Home::create(&data, "ann@example.com").await;
    let attacker = Home::create(&data, "eve@example.com").await;
    let before = not_of(&data, &attacker).await;
    assert!(before.len() > 20, "the victim has something to lose");
    for text in hostile(&victim) {
        // Each of the victim's ids where one of the attacker's is expected, in changing company.
        for _ in 0..4 {
            let mut choice = [0; 8];
            dice.fill(&mut choice);
            let pick = |n: usize, theirs: Uuid, own: Uuid| if choice[n] % 2 == 0 { theirs } else { own };
            let mixed = Home {
                tenant: attacker.tenant,
                user: pick(0, victim.user, attacker.user),
                email: text.clone(),
                auth_session: pick(1, victim.auth_session, attacker.auth_session),
                family: pick(2, victim.family, attacker.family),
                session: pick(3, victim.session, attacker.session),
                conversation: pick(4, victim.conversation, attacker.conversation),
                message: pick(5, victim.message, attacker.message),
                agent: pick(6, victim.agent, attacker.agent),
                audit: pick(7, victim.audit, attacker.audit),
            };
            use_workspaces(&data, &mixed, &text).await;
            use_people(&data, &mixed, &victim, &text).await;
            use_the_rest(&data, &mixed, &text).await;
        }
        assert_eq!(not_of(&data, &attacker).await, before, "after {text:?}");
    }
    let found = data.repositories.users().by_email("ann@example.com").await.unwrap().unwrap();
    assert_eq!((found.id, found.tenant_id), (victim.user, victim.tenant));
    data.assert_clean().await;
}

/// Workspaces, their files, and conversations.
async fn use_workspaces(data: &Data, mixed: &Home, text: &str) {
    let Home { tenant, user, session: id, conversation: talk, message: said, .. } = *mixed;
    let sessions = data.repositories.sessions();
    let path = Some(text.to_owned()).filter(|text| text.len() <= MAX_KEY_TEXT);
    let base = session(&*data.entropy, tenant, user, NOW_MS);
    sessions.create(&Session { id, name: text.into(), workspace_path: path.clone(), ..base }).await.ok();
    sessions.update(tenant, user, id, None, |s| s.workspace_path.clone_from(&path)).await.ok();
    sessions.touch(tenant, user, id, NOW_MS).await.ok();
    let place = TimeCursor { at: i64::MIN, id };
    let mut seen = vec![sessions.get(tenant, user, id).await.unwrap()];
    seen.extend(sessions.list(tenant, user, 50).await.unwrap().into_iter().map(Some));
    for after in [None, Some(&place)] {
        seen.extend(sessions.page(tenant, user, after, 50).await.unwrap().items.into_iter().map(Some));
    }
    if let Ok(page) = sessions.by_path(tenant, user, text, Some(id), 50).await {
        seen.extend(page.items.into_iter().map(Some));
    }
    assert!(seen.into_iter().flatten().all(|session| session.tenant_id == tenant));

    sessions.pause(tenant, user, id, None, NOW_MS).await.ok();
    sessions.open(tenant, user, id, NOW_MS).await.unwrap();
    let fork = Fork { id: data.entropy.uuid(), name: Some(text.into()), limit: usize::MAX, now: NOW_MS };
    if sessions.fork(tenant, user, id, &fork).await.is_ok() {
        sessions.finish_fork(tenant, fork.id).await.ok();
        assert!(sessions.delete(tenant, user, fork.id).await.unwrap());
    }
    let states = data.repositories.session_states();
    let json = bytes::Bytes::from_static(b"{}");
    states.put(tenant, user, id, StatePart::Memory, &json, None, NOW_MS).await.ok();
    if let Ok(Some((state, _))) = states.get(tenant, user, id, StatePart::Memory).await {
        assert_eq!(state.tenant_id, tenant);
    }

    let files = data.repositories.files();
    let any = &Condition::Any;
    let put = files.put(tenant, id, text, content(1), any, 1).await;
    assert!(matches!(put, Ok(_) | Err(FileError::Path(_))), "{put:?} for {text:?}");
    for (from, to) in [(text, "src/main.rs"), ("src/main.rs", text)] {
        let how = Move { from, to, replace: true };
        files.move_file(tenant, id, how, any, 2).await.ok();
        files.move_some(tenant, id, how, None, 2).await.ok();
    }
    files.copy_some(tenant, id, id, Some(text), 2).await.ok();
    files.restore(tenant, id, text, 1, any, 2).await.ok();
    if let Ok(page) = files.versions(tenant, id, text, None, 50).await {
        assert!(page.items.iter().all(|version| version.tenant_id == tenant));
    }
    for after in [None, Some((text.to_owned(), 0))] {
        if let Ok(page) = files.versions_below(tenant, id, text, after, 50).await {
            assert!(page.items.iter().all(|version| version.tenant_id == tenant));
        }
    }
    if let Ok(page) = files.list_directory(tenant, id, text, Some(text), 50).await {
        for entry in page.items {
            assert!(!matches!(entry, DirectoryEntry::File(file) if file.tenant_id != tenant));
        }
    }
    if let Ok(page) = files.list(tenant, id, text, Some(text), 50).await {
        assert!(page.items.iter().all(|file| file.tenant_id == tenant));
    }
    if let Ok(Some(file)) = files.get(tenant, id, text).await {
        assert_eq!(file.tenant_id, tenant);
    }
    files.delete(tenant, id, text, any, 3).await.ok();
    files.delete_some(tenant, id, text, Some(text), 3).await.ok();
    files.forget_some(tenant, id, text, true, 3).await.ok();

    let (conversations, messages) = (data.repositories.conversations(), data.repositories.messages());
    let mut new = conversation(data, tenant, user, Some(id));
    (new.id, new.title) = (talk, text.into());
    conversations.create(&new).await.ok();
    conversations.update(tenant, user, talk, None, |c| c.title = text.into()).await.ok();
    let mut new = message(data, text);
    new.id = said;
    messages.append(tenant, user, talk, &new, i64::MAX - 1000).await.ok();
    let order = Order::NewestFirst;
    if let Some(page) = messages.list(tenant, user, talk, Some(&place), order, 50).await.unwrap() {
        assert!(page.items.iter().all(|message| message.tenant_id == tenant));
    }
    let by_user = conversations.by_user(tenant, user, Some(&place), 50).await.unwrap();
    let by_session = conversations.by_session(tenant, user, id, None, 50).await.unwrap();
    assert!(by_user.items.iter().chain(&by_session.items).all(|c| c.tenant_id == tenant));
    conversations.delete(tenant, user, talk, None).await.ok();
    sessions.delete(tenant, user, id).await.ok();
}

/// Users, logins, and the tenant itself.
async fn use_people(data: &Data, mixed: &Home, victim: &Home, text: &str) {
    let Home { tenant, user, auth_session, family, .. } = *mixed;
    let users = data.repositories.users();
    for email in [text, victim.email.as_str(), " ANN@example.com "] {
        if let Some(member) = users.list(tenant, None, 1).await.unwrap().items.first() {
            users.add(By::Operator, &User { id: user, email: email.into(), ..member.clone() }).await.ok();
        }
        users.change_email(tenant, user, None, email, NOW_MS).await.ok();
        users.update(tenant, user, None, |u| u.tenant_id = victim.tenant).await.ok();
    }
    let found = users.get(tenant, user).await.unwrap();
    let listed = users.list(tenant, Some(user), 50).await.unwrap().items;
    assert!(found.iter().chain(&listed).all(|user| user.tenant_id == tenant));
    data.repositories
        .tenants()
        .update(tenant, None, |t| (t.id, t.name) = (victim.tenant, text.into()))
        .await
        .ok();

    let auth = data.repositories.auth_sessions();
    let mut new = login(&*data.entropy, tenant, user);
    (new.id, new.family, new.email) = (auth_session, family, text.into());
    auth.create(&new, NOW).await.ok();
    auth.create(&new, i64::MAX).await.ok();
    let lived = auth.live_families(tenant, user, None, 50, NOW).await.unwrap().items;
    assert!(lived.iter().all(|family| family.tenant_id == tenant));
    auth.revoke_family(tenant, family, NOW).await.unwrap();
    auth.revoke_user(tenant, user, NOW).await.unwrap();
    if let Some(found) = auth.family_of(tenant, auth_session).await.unwrap() {
        assert_eq!(found.tenant_id, tenant);
    }
    let client = Client { user_agent: Some(text.into()), address: Some(text.into()) };
    auth.rotate(data.id(), 10, NOW, &client).await.unwrap();
    data.repositories.removals().begin_user(By::Member(user), tenant, user, Some(7), NOW_MS).await.ok();
    users.disable(By::Member(user), tenant, user, None, NOW_MS).await.ok();
}

/// Agents, settings and the audit trail.
async fn use_the_rest(data: &Data, mixed: &Home, text: &str) {
    let Home { tenant, user, agent: id, audit: done, .. } = *mixed;
    let agents = data.repositories.agents();
    agents.create(&Agent { id, name: text.into(), ..agent(data, tenant, text) }).await.ok();
    agents.update(tenant, id, None, |a| a.name = text.into()).await.ok();
    let listed = agents.list(tenant, Some(text), 50).await.map(|page| page.items).unwrap_or_default();
    let named = agents.by_name(tenant, text).await.unwrap_or_default();
    let found = agents.get(tenant, id).await.unwrap();
    assert!(listed.iter().chain(&named).chain(&found).all(|agent| agent.tenant_id == tenant));
    agents.delete(tenant, id, None).await.ok();

    let settings = data.repositories.settings();
    for owner in [SettingOwner::User(user), SettingOwner::Tenant] {
        let put = settings.put(tenant, owner, text, &json!(text), None, 1).await;
        assert!(put.is_ok() || text.len() > MAX_KEY_TEXT, "{put:?} for {text:?}");
        let listed = settings.list(tenant, owner, None, 50).await.unwrap().items;
        assert!(listed.iter().all(|setting| setting.tenant_id == tenant));
        settings.delete(tenant, owner, text, None).await.ok();
    }

    let requests = data.repositories.requests();
    let asked = RequestKey { tenant, user, key: text };
    let claimed = requests.claim(asked, text, id, NOW_MS).await;
    assert!(claimed.is_ok() || text.len() > MAX_KEY_TEXT, "{claimed:?} for {text:?}");
    let answer = StoredAnswer::new(201, Vec::new(), b"{}").unwrap();
    requests.complete(asked, id, &answer).await.ok();
    requests.claim(asked, text, id, i64::MAX).await.ok();

    let audit = data.repositories.audit();
    let object = AuditObject { kind: text.into(), id: text.into() };
    let new = NewAuditEntry { salt: done, object: object.clone(), ..entry(data, NOW_MS, Some(user), "") };
    audit.append(tenant, &[new]).await.unwrap();
    let order = Order::OldestFirst;
    let by_actor = audit.by_actor(tenant, user, None, order, 50).await.unwrap().items;
    let by_object = audit.by_object(tenant, &object, None, order, 50).await;
    let by_object = by_object.map(|page| page.items).unwrap_or_default();
    assert!(by_actor.iter().chain(&by_object).all(|entry| entry.tenant_id == tenant));
}
