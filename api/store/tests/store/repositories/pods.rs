//! Which workspace has which pod.

use coditect_store::UpdateError;
use coditect_store::records::PodAllocation;

use super::{Data, NOW_MS, checks};

checks![a_pod_is_one_workspaces_until_that_one_releases_it, of_many_who_want_a_pod_one_gets_it];

pub(crate) fn allocation(data: &Data, pool: &str, pod: &str) -> PodAllocation {
    PodAllocation {
        pool: pool.into(),
        pod: pod.into(),
        tenant_id: data.id(),
        user_id: data.id(),
        session_id: data.id(),
        since: NOW_MS,
    }
}

async fn a_pod_is_one_workspaces_until_that_one_releases_it(data: Data) {
    let pods = data.repositories.pods();
    let first = allocation(&data, "theia", "theia-0");
    let second = allocation(&data, "theia", "theia-0");
    pods.allocate(&first).await.unwrap();
    pods.allocate(&PodAllocation { since: NOW_MS + 1, ..first.clone() }).await.unwrap();
    assert!(matches!(pods.allocate(&second).await, Err(UpdateError::Taken)));
    assert_eq!(pods.get("theia", "theia-0").await.unwrap(), Some(first.clone()), "since the first time");
    pods.allocate(&PodAllocation { pod: "theia-1".into(), ..second.clone() }).await.unwrap();
    pods.allocate(&PodAllocation { pool: "other".into(), ..second.clone() }).await.unwrap();
    let page = pods.list("theia", None, 1).await.unwrap();
    assert_eq!((page.items.as_slice(), page.next.as_deref()), ([first.clone()].as_slice(), Some("theia-0")));
    assert_eq!(pods.list("theia", page.next.as_deref(), 9).await.unwrap().items.len(), 1);

    let release = |of: &PodAllocation| {
        let (repositories, tenant, session) = (data.repositories.clone(), of.tenant_id, of.session_id);
        async move { repositories.pods().release("theia", "theia-0", tenant, session).await.unwrap() }
    };
    assert!(!release(&second).await);
    assert!(release(&first).await);
    assert!(!release(&first).await);
    pods.allocate(&second).await.unwrap();
    data.assert_clean().await;
}

async fn of_many_who_want_a_pod_one_gets_it(data: Data) {
    let tasks: Vec<_> = (0..12)
        .map(|_| {
            let (repositories, wanted) = (data.repositories.clone(), allocation(&data, "theia", "theia-0"));
            tokio::spawn(async move { repositories.pods().allocate(&wanted).await.map(|()| wanted) })
        })
        .collect();
    let mut won = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(wanted) => won.push(wanted),
            Err(UpdateError::Taken) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(data.repositories.pods().get("theia", "theia-0").await.unwrap(), won.pop());
}
