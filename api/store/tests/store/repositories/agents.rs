//! AI agents and their names.

use coditect_store::UpdateError;
use coditect_store::records::{Agent, FIRST_VERSION};
use uuid::Uuid;

use super::{Data, NOW_MS, checks};

checks![
    a_name_is_one_agents_however_it_is_spelt,
    of_many_agents_renamed_to_one_name_one_is,
    agents_are_listed_by_name_in_pages,
];

pub(crate) fn agent(data: &Data, tenant: Uuid, name: &str) -> Agent {
    Agent {
        id: data.id(),
        tenant_id: tenant,
        name: name.into(),
        description: String::new(),
        settings: serde_json::Map::new(),
        created_by: data.id(),
        created_at: NOW_MS,
        updated_at: NOW_MS,
        version: FIRST_VERSION,
    }
}

async fn a_name_is_one_agents_however_it_is_spelt(data: Data) {
    let agents = data.repositories.agents();
    let tenant = data.id();
    let reviewer = agent(&data, tenant, "Code  Reviewer");
    agents.create(&reviewer).await.unwrap();
    assert_eq!(agents.by_name(tenant, " code reviewer ").await.unwrap(), Some(reviewer.clone()));
    let same = agents.create(&agent(&data, tenant, "CODE REVIEWER")).await;
    assert!(matches!(same, Err(UpdateError::Taken)), "{same:?}");
    agents.create(&agent(&data, data.id(), "Code Reviewer")).await.unwrap();

    let spelt = agents.update(tenant, reviewer.id, None, |a| a.name = "code reviewer".into()).await.unwrap();
    assert_eq!((spelt.name.as_str(), spelt.version), ("code reviewer", 2));
    let tester = agent(&data, tenant, "Tester");
    agents.create(&tester).await.unwrap();
    let taken = agents.update(tenant, tester.id, None, |a| a.name = "Code Reviewer".into()).await;
    assert!(matches!(taken, Err(UpdateError::Taken)), "{taken:?}");
    let moved = agents.update(tenant, reviewer.id, Some(2), |a| a.name = "Critic".into()).await.unwrap();
    assert_eq!(agents.by_name(tenant, "critic").await.unwrap(), Some(moved));
    agents.update(tenant, tester.id, None, |a| a.name = "Code Reviewer".into()).await.unwrap();
    assert_eq!(agents.get(tenant, tester.id).await.unwrap().unwrap().name, "Code Reviewer");
    data.assert_clean().await;

    let stale = agents.delete(tenant, tester.id, Some(1)).await;
    assert!(matches!(stale, Err(UpdateError::VersionMismatch { current: 2 })));
    agents.delete(tenant, tester.id, Some(2)).await.unwrap();
    assert_eq!(agents.by_name(tenant, "code reviewer").await.unwrap(), None);
    assert!(matches!(agents.delete(tenant, tester.id, None).await, Err(UpdateError::NotFound)));
    data.assert_clean().await;
}

async fn of_many_agents_renamed_to_one_name_one_is(data: Data) {
    let tenant = data.id();
    let mut tasks = Vec::new();
    for n in 0..12 {
        let new = agent(&data, tenant, &format!("agent {n}"));
        data.repositories.agents().create(&new).await.unwrap();
        let repositories = data.repositories.clone();
        tasks.push(tokio::spawn(async move {
            repositories.agents().update(tenant, new.id, None, |a| a.name = "Chosen".into()).await
        }));
    }
    let mut won = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(agent) => won.push(agent),
            Err(UpdateError::Taken) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(data.repositories.agents().by_name(tenant, "chosen").await.unwrap(), won.pop());
    assert_eq!(data.dump().await.len(), 24, "a record and an entry each");
    data.assert_clean().await;
}

async fn agents_are_listed_by_name_in_pages(data: Data) {
    let agents = data.repositories.agents();
    let tenant = data.id();
    for name in ["delta", "Alpha", "charlie", "Bravo", "echo"] {
        agents.create(&agent(&data, tenant, name)).await.unwrap();
    }
    let first = agents.list(tenant, None, 2).await.unwrap();
    agents.create(&agent(&data, tenant, "aardvark")).await.unwrap();
    let second = agents.list(tenant, first.next.as_deref(), 2).await.unwrap();
    let third = agents.list(tenant, second.next.as_deref(), 2).await.unwrap();
    let names: Vec<_> =
        [first, second, third].iter().flat_map(|page| page.items.clone()).map(|agent| agent.name).collect();
    assert_eq!(names, ["Alpha", "Bravo", "charlie", "delta", "echo"]);
}
