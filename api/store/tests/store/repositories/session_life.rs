//! Copying workspaces, and bringing to its end what a crash left unsettled.

use coditect_store::changes::{Change, Followed, Follower, Position};
use coditect_store::records::{Session, SessionStatus, StatePart};
use coditect_store::{Condition, FileError, Fork, Unsettled, UpdateError};
use uuid::Uuid;

use super::files::{content, stock};
use super::{Data, NOW_MS, checks};
use crate::support::session;

checks![
    a_copy_has_settings_state_and_files_and_no_blob_twice,
    a_copy_that_was_cut_off_is_finished_from_where_it_stands,
    a_copy_ends_with_what_it_is_copied_from,
    a_copy_that_is_not_finished_cannot_be_used,
    many_files_are_copied_while_others_work_on,
    a_copy_counts_as_a_workspace,
    a_removal_that_was_cut_off_is_finished,
    replicas_are_told_of_pauses_and_removals_once,
];

/// Later than every copy of these tests.
const LATER: i64 = NOW_MS + 1;

async fn workspace(data: &Data) -> Session {
    let base = session(&*data.entropy, data.id(), data.id(), 1);
    let mut new = Session { workspace_path: Some("/work".into()), ..base };
    new.settings.insert("theme".into(), "dark".into());
    data.repositories.sessions().create(&new).await.unwrap();
    stock(data, new.tenant_id).await;
    new
}

fn fork(data: &Data) -> Fork {
    Fork { id: data.id(), name: None, limit: 100, now: NOW_MS }
}

async fn put(data: &Data, of: &Session, path: &str, byte: u8) {
    data.repositories
        .files()
        .put(of.tenant_id, of.id, path, content(byte), &Condition::Any, 10)
        .await
        .unwrap();
}

/// The files of a workspace: path and which content.
async fn files(data: &Data, tenant: Uuid, workspace: Uuid) -> Vec<(String, u8)> {
    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let page =
            data.repositories.files().list(tenant, workspace, "", after.as_deref(), 200).await.unwrap();
        let byte = |file: &coditect_store::records::File| {
            (0..16).find(|byte| content(*byte).sha256 == file.content.sha256).unwrap()
        };
        found.extend(page.items.iter().map(|file| (file.path.clone(), byte(file))));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

async fn unsettled(data: &Data) -> Vec<Unsettled> {
    data.repositories.sessions().unsettled(None).await.unwrap()
}

async fn a_copy_has_settings_state_and_files_and_no_blob_twice(data: Data) {
    let work = workspace(&data).await;
    let (tenant, user) = (work.tenant_id, work.user_id);
    let (sessions, states) = (data.repositories.sessions(), data.repositories.session_states());
    for (path, byte) in [("a", 1), ("src/main.rs", 2), ("z", 1)] {
        put(&data, &work, path, byte).await;
    }
    let json = bytes::Bytes::from(vec![b'1'; 200_000]);
    for part in [StatePart::Editor, StatePart::Memory] {
        states.put(tenant, user, work.id, part, &json, None, 5).await.unwrap();
        states.put(tenant, user, work.id, part, &json.slice(..190_000), None, 5).await.unwrap();
    }
    sessions.pause(tenant, user, work.id, None, 6).await.unwrap();
    let blobs = |dump: &std::collections::BTreeMap<String, bytes::Bytes>| {
        dump.keys().filter(|path| path.contains("/blobs/") || path.contains("/blob_contents/")).count()
    };
    let before = blobs(&data.dump_all().await);

    let begun = sessions.fork(tenant, user, work.id, &fork(&data)).await.unwrap();
    assert_eq!((begun.status, begun.forked_from, begun.version), (SessionStatus::Forking, Some(work.id), 1));
    let copy = sessions.finish_fork(tenant, begun.id).await.unwrap();
    assert_eq!((copy.status, copy.version), (SessionStatus::Active, 2));
    assert_eq!(copy.name, format!("{} (copy)", work.name));
    assert_eq!(
        (&copy.settings, &copy.workspace_path, copy.r#type),
        (&work.settings, &work.workspace_path, work.r#type)
    );
    assert_eq!((copy.created_at, copy.user_id), (NOW_MS, user));
    assert_eq!(sessions.finish_fork(tenant, begun.id).await.unwrap(), copy, "it is finished");
    assert_eq!(files(&data, tenant, copy.id).await, files(&data, tenant, work.id).await);
    assert_eq!(blobs(&data.dump_all().await), before);
    for part in StatePart::ALL {
        let (of_work, of_copy) = (
            states.get(tenant, user, work.id, part).await.unwrap(),
            states.get(tenant, user, copy.id, part).await.unwrap(),
        );
        assert_eq!(of_copy.as_ref().map(|(_, json)| json), of_work.as_ref().map(|(_, json)| json));
        assert!(of_copy.is_none_or(|(state, _)| state.version == 1));
    }
    data.assert_clean().await;

    // From here on they have nothing in common.
    put(&data, &copy, "a", 3).await;
    states.put(tenant, user, copy.id, StatePart::Editor, &json, None, 7).await.unwrap();
    assert!(sessions.delete(tenant, user, work.id).await.unwrap());
    let expected = [("a".to_owned(), 3), ("src/main.rs".to_owned(), 2), ("z".to_owned(), 1)];
    assert_eq!(files(&data, tenant, copy.id).await, expected);
    assert!(unsettled(&data).await.is_empty());
    data.assert_clean().await;
}

async fn a_copy_that_was_cut_off_is_finished_from_where_it_stands(data: Data) {
    let work = workspace(&data).await;
    let (tenant, user) = (work.tenant_id, work.user_id);
    for number in 0..5 {
        put(&data, &work, &format!("{number}"), number).await;
    }
    let sessions = data.repositories.sessions();
    let begun = sessions.fork(tenant, user, work.id, &fork(&data)).await.unwrap();
    data.assert_clean().await;
    let left = Unsettled { tenant, workspace: begun.id };
    assert_eq!(unsettled(&data).await, [left]);
    assert!(!sessions.settle(left, NOW_MS).await.unwrap(), "somebody may still be at it");
    // Another replica was half through with it.
    let another = data.repositories.clone();
    let both = tokio::join!(async { sessions.settle(left, LATER).await.unwrap() }, async {
        another.sessions().finish_fork(tenant, begun.id).await.unwrap()
    },);
    assert_eq!(both.1.status, SessionStatus::Active);
    let found = sessions.get(tenant, user, begun.id).await.unwrap().unwrap();
    assert_eq!(found.status, SessionStatus::Active);
    assert_eq!(files(&data, tenant, begun.id).await.len(), 5);
    assert!(unsettled(&data).await.is_empty());
    assert!(!sessions.settle(left, LATER).await.unwrap());
    data.assert_clean().await;
}

async fn a_copy_ends_with_what_it_is_copied_from(data: Data) {
    let work = workspace(&data).await;
    let (tenant, user) = (work.tenant_id, work.user_id);
    put(&data, &work, "a", 1).await;
    let sessions = data.repositories.sessions();
    let (one, other) = (
        sessions.fork(tenant, user, work.id, &fork(&data)).await.unwrap(),
        sessions.fork(tenant, user, work.id, &fork(&data)).await.unwrap(),
    );
    assert!(sessions.delete(tenant, user, work.id).await.unwrap());
    let finished = sessions.finish_fork(tenant, one.id).await;
    assert!(matches!(finished, Err(UpdateError::NotFound)), "{finished:?}");
    assert!(sessions.settle(Unsettled { tenant, workspace: other.id }, LATER).await.unwrap());
    assert!(sessions.list(tenant, user, 10).await.unwrap().is_empty());
    assert!(data.dump().await.is_empty(), "{:#?}", data.dump().await.keys());
}

async fn a_copy_that_is_not_finished_cannot_be_used(data: Data) {
    let work = workspace(&data).await;
    let (tenant, user) = (work.tenant_id, work.user_id);
    let sessions = data.repositories.sessions();
    let begun = sessions.fork(tenant, user, work.id, &fork(&data)).await.unwrap();
    let again = sessions.fork(tenant, user, begun.id, &fork(&data)).await;
    assert!(matches!(again, Err(UpdateError::Forking)), "{again:?}");
    for changed in [
        sessions.pause(tenant, user, begun.id, None, 5).await,
        sessions.resume(tenant, user, begun.id, None, 5).await,
    ] {
        assert!(matches!(changed, Err(UpdateError::Forking)), "{changed:?}");
    }
    assert!(!sessions.open(tenant, user, begun.id, 5).await.unwrap());
    assert!(!sessions.is_active(tenant, begun.id).await.unwrap());
    let put = data.repositories.files().put(tenant, begun.id, "a", content(1), &Condition::Any, 5).await;
    assert!(matches!(put, Err(FileError::Forking)), "{put:?}");
    let named = sessions.update(tenant, user, begun.id, None, |s| {
        s.name = "mine".into();
        s.status = SessionStatus::Active;
        s.forked_from = None;
    });
    let named = named.await.unwrap();
    assert_eq!((named.status, named.forked_from), (SessionStatus::Forking, Some(work.id)));
    let stranger = sessions.fork(tenant, data.id(), work.id, &fork(&data)).await;
    assert!(matches!(stranger, Err(UpdateError::NotFound)), "{stranger:?}");
    // It can be removed before it was ever finished.
    assert!(sessions.delete(tenant, user, begun.id).await.unwrap());
    let finished = sessions.finish_fork(tenant, begun.id).await;
    assert!(matches!(finished, Err(UpdateError::NotFound)), "{finished:?}");
    assert!(unsettled(&data).await.is_empty());
    data.assert_clean().await;
}

/// More files than one transaction copies, and they change meanwhile.
async fn many_files_are_copied_while_others_work_on(data: Data) {
    const FILES: u8 = 230;
    let work = workspace(&data).await;
    let (tenant, user) = (work.tenant_id, work.user_id);
    let path = |number: u8| format!("src/{number:03}");
    for number in 0..FILES {
        put(&data, &work, &path(number), number % 4).await;
    }
    let sessions = data.repositories.sessions();
    let begun = sessions.fork(tenant, user, work.id, &fork(&data)).await.unwrap();
    let copying = async { sessions.finish_fork(tenant, begun.id).await.unwrap() };
    let working = async {
        for number in (0..FILES).step_by(16) {
            put(&data, &work, &path(number), 4 + number % 4).await;
            let gone = path(number + 1);
            data.repositories.files().delete(tenant, work.id, &gone, &Condition::Any, NOW_MS).await.unwrap();
        }
    };
    tokio::join!(copying, working);
    let copied: std::collections::BTreeMap<_, _> = files(&data, tenant, begun.id).await.into_iter().collect();
    for number in 0..FILES {
        let found = copied.get(&path(number)).copied();
        let allowed = match number % 16 {
            0 => vec![Some(number % 4), Some(4 + number % 4)],
            1 => vec![Some(number % 4), None],
            _ => vec![Some(number % 4)],
        };
        assert!(allowed.contains(&found), "{number}: {found:?}");
    }
    data.assert_clean().await;
}

async fn a_copy_counts_as_a_workspace(data: Data) {
    let work = workspace(&data).await;
    let (tenant, user) = (work.tenant_id, work.user_id);
    let copies = (0..6).map(|_| {
        let (repositories, fork) = (data.repositories.clone(), Fork { limit: 3, ..fork(&data) });
        async move { repositories.sessions().fork(tenant, user, work.id, &fork).await }
    });
    let copies = futures::future::join_all(copies).await;
    assert_eq!(copies.iter().filter(|copy| copy.is_ok()).count(), 2);
    for refused in copies.into_iter().filter_map(Result::err) {
        assert!(matches!(refused, UpdateError::LimitReached { limit: 3 }), "{refused:?}");
    }
    assert_eq!(data.repositories.sessions().list(tenant, user, 10).await.unwrap().len(), 3);
}

async fn a_removal_that_was_cut_off_is_finished(data: Data) {
    let work = workspace(&data).await;
    let (tenant, user) = (work.tenant_id, work.user_id);
    let sessions = data.repositories.sessions();
    let before = data.dump().await.len();
    let lost = session(&*data.entropy, tenant, user, 2);
    sessions.create(&lost).await.unwrap();
    let json = bytes::Bytes::from_static(b"1");
    data.repositories
        .session_states()
        .put(tenant, user, lost.id, StatePart::Editor, &json, None, 5)
        .await
        .unwrap();
    assert!(sessions.touch(tenant, user, lost.id, 7).await.unwrap());
    put(&data, &lost, "a", 1).await;
    // As the first transaction of a removal leaves it.
    let record = format!("/test/tenant/{tenant}/sessions/{}", lost.id);
    let stored = data.dump().await[&record].clone();
    let hidden = String::from_utf8(stored.to_vec()).unwrap().replace("\"active\"", "\"deleting\"");
    data.plant(&record, Some(hidden.as_bytes())).await;
    data.plant(&format!("/test/tenant/{tenant}/sessions_by_user/{user}/2/{}", lost.id), None).await;
    data.plant(&format!("/test/global/sessions_unsettled/{tenant}/{}", lost.id), Some(b"")).await;
    data.assert_clean().await;

    let found = unsettled(&data).await;
    assert_eq!(found, [Unsettled { tenant, workspace: lost.id }]);
    assert!(sessions.unsettled(Some(found[0])).await.unwrap().is_empty());
    assert!(sessions.settle(found[0], 0).await.unwrap());
    assert!(unsettled(&data).await.is_empty());
    assert_eq!(data.dump().await.len(), before);
    // An entry whose tenant was removed as a whole is no trouble for ever.
    let stray = Unsettled { tenant: data.id(), workspace: lost.id };
    data.plant(&format!("/test/global/sessions_unsettled/{}/{}", stray.tenant, lost.id), Some(b"")).await;
    assert!(sessions.settle(stray, 0).await.unwrap());
    assert!(unsettled(&data).await.is_empty());
    data.assert_clean().await;
}

async fn replicas_are_told_of_pauses_and_removals_once(data: Data) {
    let work = workspace(&data).await;
    let (tenant, user, id) = (work.tenant_id, work.user_id, work.id);
    let sessions = data.repositories.sessions();
    for at in 0..2 {
        sessions.pause(tenant, user, id, None, at).await.unwrap();
        sessions.pause(tenant, user, id, None, at).await.unwrap();
        sessions.resume(tenant, user, id, None, at).await.unwrap();
    }
    sessions.update(tenant, user, id, None, |s| s.name = "new".into()).await.unwrap();
    assert!(sessions.delete(tenant, user, id).await.unwrap());
    let mut follower = Follower::at(data.store.clone(), data.keys.clone(), Position::START);
    let Followed::Changes(told) = follower.next().await.unwrap() else { panic!("told to reload") };
    let told: Vec<_> = told.into_iter().map(|recorded| recorded.change).collect();
    assert_eq!(told, vec![Change::WorkspaceEnded { tenant, workspace: id }; 3]);
}
