//! Verification finds each kind of damage, and nothing where there is none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use coditect_store::records::Session;
use coditect_store::verify::{Disagreement, MAX_PROBLEMS, Problem};
use coditect_store::{Condition, Move};

use super::agents::agent;
use super::files::content;
use super::home::{ENTRIES, Home, RECORDS};
use super::pods::allocation;
use super::{Data, NOW_MS, checks};

checks![
    a_blob_that_lost_its_content_is_named,
    what_the_repositories_write_is_clean_and_counted,
    every_index_entry_is_missed_when_it_is_gone,
    every_index_entry_is_an_orphan_without_its_record,
    planted_damage_is_named,
    problems_beyond_the_cap_are_counted,
    what_changes_under_the_walk_is_no_problem,
    concurrent_writers_cause_no_false_alarm,
];

/// Whether a path is that of an index entry, by the family's name.
fn is_entry(path: &str) -> bool {
    path.contains("_by_")
        || ["/tenants/", "/auth_session_tenant/", "/blob_references/"].iter().any(|name| path.contains(name))
}

async fn what_the_repositories_write_is_clean_and_counted(data: Data) {
    Home::create(&data, "ann@example.com").await;
    data.repositories.pods().allocate(&allocation(&data, "theia", "theia-0")).await.unwrap();
    let keys = data.store.scan(data.keys.span()).rows().await.unwrap().len();
    let told = Mutex::new(Vec::new());
    let report = data.store.verify(&data.keys, |keys| told.lock().unwrap().push(keys)).await.unwrap();
    assert!(report.is_clean(), "{:#?}", report.problems);
    assert_eq!((report.keys, report.records), (keys as u64, RECORDS as u64 + 1));
    assert_eq!(report.families.values().sum::<u64>(), report.keys);
    assert_eq!((report.families["users"], report.families["pod_allocations"]), (1, 1));
    assert_eq!(told.into_inner().unwrap(), [report.keys]);
    let dump = data.dump().await;
    assert_eq!(dump.keys().filter(|path| is_entry(path)).count(), ENTRIES);
    assert_eq!(dump.len(), RECORDS + ENTRIES + 1);
}

/// Without those of blobs and counters: a reference that is amiss, or a file, is one of those as well.
fn of_indexes(mut problems: Vec<Problem>) -> Vec<Problem> {
    let others = |problem: &Problem| {
        matches!(problem.disagreement, Disagreement::Blob { .. } | Disagreement::Usage { .. })
    };
    problems.retain(|problem| !others(problem));
    problems
}

async fn a_blob_that_lost_its_content_is_named(data: Data) {
    Home::create(&data, "ann@example.com").await;
    let dump = data.dump_all().await;
    let (chunk, _) = dump.iter().find(|(path, _)| path.contains("/blob_contents/")).unwrap();
    data.plant(chunk, None).await;
    let found = data.verify().await.problems;
    assert!(
        matches!(found.as_slice(), [problem] if matches!(&problem.disagreement, Disagreement::Blob { .. })),
        "{found:#?}"
    );
    assert!(found[0].path.ends_with("/blobs") && found[0].to_string().contains("blob "), "{found:#?}");
}

async fn every_index_entry_is_missed_when_it_is_gone(data: Data) {
    Home::create(&data, "ann@example.com").await;
    let mut checked = 0;
    for (path, value) in data.dump().await {
        if !is_entry(&path) {
            continue;
        }
        data.plant(&path, None).await;
        let found = of_indexes(data.verify().await.problems);
        let expected = Disagreement::MissingEntry { entry: path.clone() };
        assert!(
            matches!(found.as_slice(), [problem] if problem.disagreement == expected),
            "{path}: {found:#?}"
        );
        data.plant(&path, Some(b"\x01wrong\0")).await;
        let found = data.verify().await.problems;
        let expected = Disagreement::WrongEntry { entry: path.clone() };
        assert!(found.iter().any(|problem| problem.disagreement == expected), "{path}: {found:#?}");
        data.plant(&path, Some(&value)).await;
        checked += 1;
    }
    assert_eq!(checked, ENTRIES);
    data.assert_clean().await;
}

async fn every_index_entry_is_an_orphan_without_its_record(data: Data) {
    Home::create(&data, "ann@example.com").await;
    let dump = data.dump().await;
    let mut orphans = 0;
    for (path, value) in dump.iter().filter(|(path, _)| !is_entry(path)) {
        data.plant(path, None).await;
        let found = of_indexes(data.verify().await.problems);
        let expected = Disagreement::Orphan { record: path.clone(), exists: false };
        assert!(found.iter().all(|problem| problem.disagreement == expected), "{found:#?}");
        orphans += found.len();
        // The same, with a record that cannot be read: only that is reported.
        data.plant(path, Some(b"\x01{")).await;
        let found = of_indexes(data.verify().await.problems);
        assert!(
            matches!(found.as_slice(), [problem] if problem.path == *path
                && matches!(problem.disagreement, Disagreement::Unreadable { .. })),
            "{path}: {found:#?}"
        );
        data.plant(path, Some(value)).await;
    }
    assert_eq!(orphans, ENTRIES, "each entry has one record");
    data.assert_clean().await;
}

async fn planted_damage_is_named(data: Data) {
    let home = Home::create(&data, "ann@example.com").await;
    let Home { tenant, user, session, agent, .. } = home;
    let stranger = data.id();
    let at = |rest: String| format!("/test/tenant/{tenant}/{rest}");
    let dump = data.dump().await;
    let user_record = &dump[&at(format!("users/{user}"))];
    let misplaced = Disagreement::Misplaced { place: at(format!("users/{user}")) };
    let newer = "the stored users record cannot be read: it has format 9, this program knows formats up to 2";
    let claimed = |record: String, exists| Disagreement::Orphan { record, exists };
    let cases: Vec<(String, Vec<u8>, Disagreement)> = vec![
        (at("nonsense/1".into()), vec![], Disagreement::UnknownFamily),
        ("/test/nowhere".into(), vec![], Disagreement::UnknownFamily),
        ("/test/raw:ff".replace("ff", "fe"), vec![], Disagreement::UnknownFamily),
        (at("users/ann".into()), vec![], Disagreement::MalformedKey { expected: "uuid user" }),
        (at("users/raw:30".into()), vec![], Disagreement::MalformedKey { expected: "uuid user" }),
        (at(format!("users/{user}/1")), vec![], Disagreement::MalformedKey { expected: "uuid user" }),
        (at(format!("users/{stranger}")), user_record.to_vec(), misplaced.clone()),
        (format!("/test/tenant/{stranger}/users/{user}"), user_record.to_vec(), misplaced),
        (
            at(format!("users/{stranger}")),
            b"\x09{}".to_vec(),
            Disagreement::Unreadable { reason: newer.into() },
        ),
        (
            at(format!("sessions_by_user/{user}/1/{session}")),
            vec![],
            claimed(at(format!("sessions/{session}")), true),
        ),
        (
            at(format!("sessions_by_path/{user}/%2Fold/{session}")),
            vec![],
            claimed(at(format!("sessions/{session}")), true),
        ),
        (
            at("agents_by_name/ghost".into()),
            foundationdb_tuple::pack(&(agent,)),
            claimed(at(format!("agents/{agent}")), true),
        ),
        (
            "/test/global/users_by_email/eve@example.com".into(),
            foundationdb_tuple::pack(&(stranger, user)),
            claimed(format!("/test/tenant/{stranger}/users/{user}"), false),
        ),
        (
            format!("/test/global/tenants/{stranger}"),
            vec![],
            claimed(format!("/test/tenant/{stranger}/tenant"), false),
        ),
        (
            at(format!("blob_references/0x{}/{stranger}", "01".repeat(32))),
            vec![],
            claimed(at(format!("files/{stranger}")), false),
        ),
    ];
    for (path, value, disagreement) in cases {
        data.plant(&path, Some(&value)).await;
        let found = of_indexes(data.verify().await.problems);
        assert!(
            matches!(found.as_slice(), [problem] if problem.path == path && problem.disagreement == disagreement),
            "{path} should be {disagreement}, found {found:#?}"
        );
        assert!(found[0].to_string().starts_with(&path));
        data.plant(&path, None).await;
    }
    data.assert_clean().await;
}

async fn problems_beyond_the_cap_are_counted(data: Data) {
    let planted = MAX_PROBLEMS + 300;
    for n in 0..planted {
        data.plant(&format!("/test/nowhere/{n}"), Some(b"")).await;
    }
    let report = data.verify().await;
    assert_eq!((report.problems.len(), report.problem_count), (MAX_PROBLEMS, planted as u64));
    assert_eq!((report.keys, report.records, report.families.len()), (planted as u64, 0, 0));
}

/// More keys than the walk reads at once, all before those of tenants.
const PODS: usize = 1200;

async fn what_changes_under_the_walk_is_no_problem(data: Data) {
    let home = Home::create(&data, "ann@example.com").await;
    let allocations = (0..PODS).map(|n| {
        let (repositories, new) = (data.repositories.clone(), allocation(&data, "theia", &format!("{n:04}")));
        async move { repositories.pods().allocate(&new).await.unwrap() }
    });
    futures::future::join_all(allocations).await;
    let (mut pages, runtime) = (0, tokio::runtime::Handle::current());
    let report = data
        .store
        .verify(&data.keys, |_| {
            pages += 1;
            if pages == 1 {
                // The rows of the next page were read, or will be, as they were when the walk began.
                tokio::task::block_in_place(|| runtime.block_on(move_everything(&data, &home)));
            }
        })
        .await
        .unwrap();
    assert!(report.is_clean(), "{:#?}", report.problems);
    assert!(pages > 1 && report.keys > PODS as u64);
    data.assert_clean().await;
}

/// Moves or removes each index entry of a home that can be.
async fn move_everything(data: &Data, home: &Home) {
    let Home { tenant, user, session, conversation, agent, .. } = *home;
    let repositories = &data.repositories;
    repositories.users().change_email(tenant, user, None, "new@example.com", NOW_MS).await.unwrap();
    repositories.agents().update(tenant, agent, None, |agent| agent.name = "other".into()).await.unwrap();
    let (files, any) = (repositories.files(), &Condition::Any);
    files.put(tenant, session, "src/main.rs", content(2), any, NOW_MS).await.unwrap();
    let how = Move { from: "src/main.rs", to: "lib.rs", replace: false };
    files.move_file(tenant, session, how, any, NOW_MS).await.unwrap();
    let to = |session: &mut Session| session.workspace_path = Some("/other".into());
    repositories.sessions().update(tenant, user, session, None, to).await.unwrap();
    repositories.conversations().delete(tenant, user, conversation, None).await.unwrap();
}

async fn concurrent_writers_cause_no_false_alarm(data: Data) {
    let home = Home::create(&data, "ann@example.com").await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3_u8)
        .map(|writer| {
            let (data, stop) = (data.clone(), Arc::clone(&stop));
            let (tenant, user, work) = (home.tenant, home.user, home.session);
            tokio::spawn(async move {
                let (files, agents) = (data.repositories.files(), data.repositories.agents());
                let helper = agent(&data, tenant, &format!("agent {writer}"));
                let mut round = 0_u8;
                while !stop.load(Ordering::Relaxed) {
                    round = round.wrapping_add(1);
                    let path = format!("{writer}/{}", round % 7);
                    files.put(tenant, work, &path, content(round % 5), &Condition::Any, 1).await.unwrap();
                    agents.create(&helper).await.unwrap();
                    let email = format!("ann{round}@example.com");
                    if writer == 0 {
                        let users = data.repositories.users();
                        users.change_email(tenant, user, None, &email, NOW_MS).await.unwrap();
                    }
                    if round.is_multiple_of(3) {
                        files.delete(tenant, work, &path, &Condition::Any, 1).await.unwrap();
                    }
                    agents.delete(tenant, helper.id, None).await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..40 {
        data.assert_clean().await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    data.assert_clean().await;
}
