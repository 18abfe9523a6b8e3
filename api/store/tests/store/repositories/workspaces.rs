//! Workspaces.

use coditect_auth::Entropy;
use coditect_store::records::{Session, SessionStatus, SessionType};
use coditect_store::{Page, SessionFilter, TimeCursor, UpdateError};

use super::{Data, NOW_MS, checks};
use crate::support::session;

checks![
    workspaces_are_listed_newest_first_and_leave_no_orphans,
    another_user_or_tenant_reaches_no_workspace,
    a_path_finds_its_workspaces_as_they_move,
    pages_stay_as_they_were_while_workspaces_come_and_go,
    a_workspace_is_paused_and_resumed,
    an_access_is_no_change_of_the_workspace,
    a_user_has_no_more_workspaces_than_allowed,
    a_filter_shows_what_fits_over_all_pages,
    a_record_of_format_1_is_read_indexed_and_rewritten,
];

async fn workspaces_are_listed_newest_first_and_leave_no_orphans(data: Data) {
    let sessions = data.repositories.sessions();
    let (tenant, user, other) = (data.entropy.uuid(), data.entropy.uuid(), data.entropy.uuid());
    let mut ids = Vec::new();
    for at in [100, 300, 200] {
        let new = session(&*data.entropy, tenant, user, at);
        sessions.create(&new).await.unwrap();
        ids.push(new.id);
    }
    sessions.create(&session(&*data.entropy, tenant, other, 400)).await.unwrap();
    let listed = |limit| {
        let sessions = data.repositories.sessions();
        async move {
            let found = sessions.list(tenant, user, limit).await.unwrap();
            found.into_iter().map(|s| s.id).collect::<Vec<_>>()
        }
    };
    assert_eq!(listed(10).await, [ids[1], ids[2], ids[0]]);
    assert_eq!(listed(2).await, [ids[1], ids[2]]);

    let changed = sessions
        .update(tenant, user, ids[2], None, |s| {
            s.name = "renamed".into();
            s.r#type = SessionType::AiStudio;
            s.user_id = other;
            s.created_at = 0;
        })
        .await
        .unwrap();
    assert_eq!((changed.name.as_str(), changed.user_id, changed.created_at), ("renamed", user, 200));
    assert_eq!(sessions.get(tenant, user, ids[2]).await.unwrap(), Some(changed));
    assert_eq!(listed(10).await, [ids[1], ids[2], ids[0]]);

    assert!(sessions.delete(tenant, user, ids[1]).await.unwrap());
    assert!(!sessions.delete(tenant, user, ids[1]).await.unwrap());
    assert_eq!(listed(10).await, [ids[2], ids[0]]);
    // Two workspaces of the user and one of the other, with an index entry each.
    assert_eq!(data.dump().await.len(), 6);
    data.assert_clean().await;
}

async fn another_user_or_tenant_reaches_no_workspace(data: Data) {
    let sessions = data.repositories.sessions();
    let (tenant, user, other) = (data.entropy.uuid(), data.entropy.uuid(), data.entropy.uuid());
    let mine = session(&*data.entropy, tenant, user, 100);
    sessions.create(&mine).await.unwrap();
    for (tenant, user) in [(tenant, other), (other, user), (other, other)] {
        assert_eq!(sessions.get(tenant, user, mine.id).await.unwrap(), None);
        let changed = sessions.update(tenant, user, mine.id, None, |s| s.name.clear()).await;
        assert!(matches!(changed, Err(UpdateError::NotFound)));
        assert!(!sessions.delete(tenant, user, mine.id).await.unwrap());
        assert!(sessions.list(tenant, user, 10).await.unwrap().is_empty());
    }
    assert_eq!(sessions.get(tenant, user, mine.id).await.unwrap(), Some(mine));
}

async fn a_path_finds_its_workspaces_as_they_move(data: Data) {
    let sessions = data.repositories.sessions();
    let (tenant, user) = (data.id(), data.id());
    let mut ids = Vec::new();
    for at in 0..3 {
        let path = Some(if at < 2 { "/work" } else { "/work/sub" }.to_owned());
        let new = Session { workspace_path: path, ..session(&*data.entropy, tenant, user, at) };
        sessions.create(&new).await.unwrap();
        ids.push(new.id);
    }
    let at_path = |path: &'static str| {
        let repositories = data.repositories.clone();
        async move {
            let page = repositories.sessions().by_path(tenant, user, path, None, 10).await.unwrap();
            page.items.into_iter().map(|session| session.id).collect::<Vec<_>>()
        }
    };
    let mut expected = vec![ids[0], ids[1]];
    expected.sort_unstable();
    assert_eq!(at_path("/work").await, expected);
    assert_eq!(at_path("/work/sub").await, [ids[2]]);
    assert!(at_path("/wor").await.is_empty());

    let to = |path: Option<&'static str>| move |s: &mut Session| s.workspace_path = path.map(str::to_owned);
    sessions.update(tenant, user, ids[0], None, to(Some("/new"))).await.unwrap();
    sessions.update(tenant, user, ids[1], None, to(None)).await.unwrap();
    assert!(at_path("/work").await.is_empty());
    assert_eq!(at_path("/new").await, [ids[0]]);
    data.assert_clean().await;
    for id in ids {
        assert!(sessions.delete(tenant, user, id).await.unwrap());
    }
    assert!(data.dump().await.is_empty());
}

async fn pages_stay_as_they_were_while_workspaces_come_and_go(data: Data) {
    let sessions = data.repositories.sessions();
    let (tenant, user) = (data.id(), data.id());
    // Several of the same millisecond, so that the id decides.
    let mut old = Vec::new();
    for at in 0..25 {
        let new = session(&*data.entropy, tenant, user, 1000 + at / 5);
        sessions.create(&new).await.unwrap();
        old.push((new.created_at, new.id));
    }
    old.sort_unstable_by(|a, b| b.cmp(a));
    let mut seen = Vec::new();
    let mut after: Option<TimeCursor> = None;
    loop {
        let page: Page<Session> = sessions.page(tenant, user, after.as_ref(), 4).await.unwrap();
        seen.extend(page.items.iter().map(|session| (session.created_at, session.id)));
        // One more at the front, and one that was seen less.
        sessions.create(&session(&*data.entropy, tenant, user, 2000)).await.unwrap();
        assert!(sessions.delete(tenant, user, page.items[0].id).await.unwrap());
        // As a client would: the cursor is text in between.
        after = page.next.map(|next| next.to_string().parse().unwrap());
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, old);
    data.assert_clean().await;
}

async fn a_workspace_is_paused_and_resumed(data: Data) {
    let sessions = data.repositories.sessions();
    let (tenant, user) = (data.id(), data.id());
    let mine = session(&*data.entropy, tenant, user, 100);
    sessions.create(&mine).await.unwrap();
    let paused = sessions.pause(tenant, user, mine.id, None, NOW_MS).await.unwrap();
    assert_eq!((paused.status, paused.updated_at, paused.version), (SessionStatus::Paused, NOW_MS, 2));
    let again = sessions.pause(tenant, user, mine.id, None, NOW_MS + 1).await.unwrap();
    assert_eq!(again, paused);
    assert!(!sessions.is_active(tenant, mine.id).await.unwrap());
    let outdated = sessions.resume(tenant, user, mine.id, Some(1), NOW_MS + 2).await;
    assert!(matches!(outdated, Err(UpdateError::VersionMismatch { current: 2 })), "{outdated:?}");
    assert_eq!(sessions.resume(tenant, user, mine.id, Some(2), NOW_MS + 2).await.unwrap().version, 3);
    assert!(sessions.is_active(tenant, mine.id).await.unwrap());
    assert_eq!(sessions.resume(tenant, user, mine.id, None, NOW_MS + 3).await.unwrap().version, 3);
    let stranger = sessions.pause(tenant, data.id(), mine.id, None, 0).await;
    assert!(matches!(stranger, Err(UpdateError::NotFound)));

    sessions.pause(tenant, user, mine.id, None, NOW_MS + 4).await.unwrap();
    assert!(!sessions.open(tenant, data.id(), mine.id, NOW_MS + 5).await.unwrap(), "not theirs to open");
    assert!(!sessions.is_active(tenant, mine.id).await.unwrap());
    assert!(sessions.open(tenant, user, mine.id, NOW_MS + 5).await.unwrap());
    let resumed = sessions.get(tenant, user, mine.id).await.unwrap().unwrap();
    assert_eq!((resumed.status, resumed.version), (SessionStatus::Active, 5));
    assert!(sessions.open(tenant, user, mine.id, NOW_MS + 6).await.unwrap(), "open already");
    assert_eq!(sessions.get(tenant, user, mine.id).await.unwrap().unwrap().version, 5);
    assert!(!sessions.open(tenant, user, data.id(), 0).await.unwrap());
    data.assert_clean().await;
}

async fn an_access_is_no_change_of_the_workspace(data: Data) {
    let sessions = data.repositories.sessions();
    let (tenant, user) = (data.id(), data.id());
    let mine = session(&*data.entropy, tenant, user, 100);
    sessions.create(&mine).await.unwrap();
    assert!(sessions.touch(tenant, user, mine.id, 999).await.unwrap());
    assert!(sessions.touch(tenant, user, mine.id, 500).await.unwrap(), "late, but no error");
    let expected = Session { last_accessed_at: 999, ..mine.clone() };
    assert_eq!(sessions.get(tenant, user, mine.id).await.unwrap(), Some(expected.clone()));
    assert_eq!(sessions.list(tenant, user, 10).await.unwrap(), std::slice::from_ref(&expected));
    assert_eq!(sessions.page(tenant, user, None, 10).await.unwrap().items, [expected]);
    let renamed = sessions.update(tenant, user, mine.id, Some(1), |s| s.name = "new".into()).await.unwrap();
    assert_eq!((renamed.last_accessed_at, renamed.version), (999, 2));
    assert!(!sessions.touch(tenant, data.id(), mine.id, 2000).await.unwrap());
    assert!(!sessions.touch(data.id(), user, mine.id, 2000).await.unwrap());
    data.assert_clean().await;
    assert!(sessions.delete(tenant, user, mine.id).await.unwrap());
    assert!(!sessions.touch(tenant, user, mine.id, 3000).await.unwrap());
    assert!(data.dump().await.is_empty());
}

async fn a_user_has_no_more_workspaces_than_allowed(data: Data) {
    let (tenant, user) = (data.id(), data.id());
    let create = |user| {
        let (repositories, new) = (data.repositories.clone(), session(&*data.entropy, tenant, user, 100));
        async move { repositories.sessions().create_within(&new, 3).await }
    };
    let created = futures::future::join_all((0..12).map(|_| create(user))).await;
    assert_eq!(created.iter().filter(|created| created.is_ok()).count(), 3);
    for refused in created.into_iter().filter_map(Result::err) {
        assert!(matches!(refused, UpdateError::LimitReached { limit: 3 }), "{refused:?}");
    }
    create(data.id()).await.unwrap();
    let listed = data.repositories.sessions().list(tenant, user, 10).await.unwrap();
    assert_eq!(listed.len(), 3);
    assert!(data.repositories.sessions().delete(tenant, user, listed[0].id).await.unwrap());
    create(user).await.unwrap();
    data.assert_clean().await;
}

async fn a_filter_shows_what_fits_over_all_pages(data: Data) {
    let sessions = data.repositories.sessions();
    let (tenant, user) = (data.id(), data.id());
    let (mut studios, mut works) = (Vec::new(), Vec::new());
    for at in 0..30 {
        let mut new = session(&*data.entropy, tenant, user, at);
        if at % 3 == 0 {
            new.r#type = SessionType::AiStudio;
            studios.insert(0, new.id);
        }
        if at % 10 == 0 {
            new.workspace_path = Some("/work".into());
            works.insert(0, new.id);
        }
        sessions.create(&new).await.unwrap();
    }
    sessions.pause(tenant, user, works[0], None, 100).await.unwrap();
    let all = |filter: SessionFilter, limit| {
        let repositories = data.repositories.clone();
        async move {
            let (mut ids, mut after) = (Vec::new(), None);
            loop {
                let page =
                    repositories.sessions().page_of(tenant, user, &filter, after.as_ref(), limit).await;
                let page = page.unwrap();
                assert!(page.items.len() <= limit);
                ids.extend(page.items.iter().map(|session| session.id));
                after = page.next;
                if after.is_none() {
                    return ids;
                }
            }
        }
    };
    let kind = SessionFilter { r#type: Some(SessionType::AiStudio), ..SessionFilter::default() };
    let path = SessionFilter { workspace_path: Some("/work".into()), ..SessionFilter::default() };
    let paused = SessionFilter { status: Some(SessionStatus::Paused), ..SessionFilter::default() };
    let both = SessionFilter { status: Some(SessionStatus::Active), ..path.clone() };
    for limit in [1, 3, 10, 200] {
        assert_eq!(all(kind.clone(), limit).await, studios);
        assert_eq!(all(path.clone(), limit).await, works);
        assert_eq!(all(paused.clone(), limit).await, works[..1]);
        assert_eq!(all(both.clone(), limit).await, works[1..]);
        assert_eq!(all(SessionFilter::default(), limit).await.len(), 30);
    }
}

/// The value is what the program wrote before records had versions and paths an index.
async fn a_record_of_format_1_is_read_indexed_and_rewritten(data: Data) {
    let sessions = data.repositories.sessions();
    let (tenant, user, id) = (data.id(), data.id(), data.id());
    let json = format!(
        "\u{1}{{\"id\":\"{id}\",\"name\":\"old\",\"tenant_id\":\"{tenant}\",\"user_id\":\"{user}\",\
         \"workspace_path\":\"/work\",\"type\":\"workspace\",\"settings\":{{}},\"status\":\"active\",\
         \"conversation_id\":null,\"created_at\":5,\"updated_at\":6,\"last_accessed_at\":7}}"
    );
    let record = format!("/test/tenant/{tenant}/sessions/{id}");
    data.plant(&record, Some(json.as_bytes())).await;
    data.plant(&format!("/test/tenant/{tenant}/sessions_by_user/{user}/5/{id}"), Some(b"")).await;
    let read = sessions.get(tenant, user, id).await.unwrap().unwrap();
    assert_eq!((read.name.as_str(), read.version, read.status), ("old", 1, SessionStatus::Active));
    assert_eq!(data.verify().await.problem_count, 1, "the index by path is younger than the record");

    sessions.update(tenant, user, id, None, |s| s.name = "new".into()).await.unwrap();
    assert_eq!(data.dump().await[&record][0], 3, "written in the format of today");
    let found = sessions.by_path(tenant, user, "/work", None, 10).await.unwrap();
    assert_eq!(found.items[0].id, id);
    data.assert_clean().await;
}
