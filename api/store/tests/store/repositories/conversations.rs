//! Conversations and their messages.

use coditect_store::records::{Conversation, FIRST_VERSION, MessageRole};
use coditect_store::{NewMessage, Order, StoreError, TimeCursor, UpdateError};
use uuid::Uuid;

use super::{Data, NOW_MS, checks};
use crate::support::session;

checks![
    a_conversation_is_its_users_alone,
    conversations_are_listed_by_user_and_by_workspace,
    messages_keep_the_order_in_which_they_were_appended,
    concurrent_messages_all_find_a_place,
    a_reader_who_pages_misses_no_message,
    a_message_sent_twice_is_stored_once,
    a_message_that_no_value_can_hold_is_refused,
    a_conversation_goes_with_its_messages_and_nothing_else_does,
];

pub(crate) fn conversation(data: &Data, tenant: Uuid, user: Uuid, session: Option<Uuid>) -> Conversation {
    Conversation {
        id: data.id(),
        tenant_id: tenant,
        user_id: user,
        session_id: session,
        title: "talk".into(),
        created_at: NOW_MS,
        updated_at: NOW_MS,
        version: FIRST_VERSION,
    }
}

pub(crate) fn message(data: &Data, content: &str) -> NewMessage {
    NewMessage {
        id: data.id(),
        role: MessageRole::User,
        content: content.into(),
        metadata: serde_json::Map::new(),
    }
}

/// A stored conversation outside of all workspaces, with its tenant and user.
async fn begun(data: &Data) -> (Uuid, Uuid, Uuid) {
    let new = conversation(data, data.id(), data.id(), None);
    data.repositories.conversations().create(&new).await.unwrap();
    (new.tenant_id, new.user_id, new.id)
}

/// What is said in a conversation, read page by page.
async fn said(data: &Data, (tenant, user, id): (Uuid, Uuid, Uuid), order: Order) -> Vec<String> {
    let (mut contents, mut after) = (Vec::new(), None::<TimeCursor>);
    loop {
        let messages = data.repositories.messages();
        let page = messages.list(tenant, user, id, after.as_ref(), order, 3).await.unwrap().unwrap();
        contents.extend(page.items.into_iter().map(|message| message.content));
        after = page.next;
        if after.is_none() {
            return contents;
        }
    }
}

async fn a_conversation_is_its_users_alone(data: Data) {
    let (conversations, messages) = (data.repositories.conversations(), data.repositories.messages());
    let (tenant, user, id) = begun(&data).await;
    let stored = conversations.get(tenant, user, id).await.unwrap().unwrap();
    let new = message(&data, "hello");
    for (tenant, user) in [(tenant, data.id()), (data.id(), user)] {
        assert_eq!(conversations.get(tenant, user, id).await.unwrap(), None);
        let append = messages.append(tenant, user, id, &new, 0).await;
        assert!(matches!(append, Err(UpdateError::NotFound)));
        assert_eq!(messages.list(tenant, user, id, None, Order::OldestFirst, 9).await.unwrap(), None);
        assert_eq!(messages.get(tenant, user, id, new.id).await.unwrap(), None);
        let update = conversations.update(tenant, user, id, None, |c| c.title.clear()).await;
        assert!(matches!(update, Err(UpdateError::NotFound)));
        let delete = conversations.delete(tenant, user, id, None).await;
        assert!(matches!(delete, Err(UpdateError::NotFound)));
    }
    assert_eq!(conversations.get(tenant, user, id).await.unwrap(), Some(stored));
    let titled = conversations.update(tenant, user, id, Some(1), |c| c.title = "new".into()).await.unwrap();
    assert_eq!((titled.title.as_str(), titled.version), ("new", 2));
}

async fn conversations_are_listed_by_user_and_by_workspace(data: Data) {
    let conversations = data.repositories.conversations();
    let (tenant, user) = (data.id(), data.id());
    let workspace = session(&*data.entropy, tenant, user, 1);
    data.repositories.sessions().create(&workspace).await.unwrap();
    let mut ids = Vec::new();
    for at in 0..6 {
        let in_workspace = (at % 2 == 0).then_some(workspace.id);
        let new = Conversation { created_at: at, ..conversation(&data, tenant, user, in_workspace) };
        conversations.create(&new).await.unwrap();
        ids.push(new.id);
    }
    let first = conversations.by_user(tenant, user, None, 4).await.unwrap();
    let rest = conversations.by_user(tenant, user, first.next.as_ref(), 4).await.unwrap();
    let listed: Vec<_> = first.items.iter().chain(&rest.items).map(|c| c.id).collect();
    assert_eq!(listed, ids.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(rest.next, None);
    let there = conversations.by_session(tenant, user, workspace.id, None, 9).await.unwrap();
    assert_eq!(there.items.iter().map(|c| c.id).collect::<Vec<_>>(), [ids[4], ids[2], ids[0]]);
    let stranger = conversations.by_session(tenant, data.id(), workspace.id, None, 9).await.unwrap();
    assert!(stranger.items.is_empty());

    let theirs = conversation(&data, tenant, data.id(), Some(workspace.id));
    let refused = conversations.create(&theirs).await;
    assert!(matches!(refused, Err(UpdateError::NotFound)), "a workspace of another user");
    assert!(data.repositories.sessions().delete(tenant, user, workspace.id).await.unwrap());
    let there = conversations.by_session(tenant, user, workspace.id, None, 9).await.unwrap();
    assert_eq!(there.items.len(), 3, "conversations outlive their workspace");
    data.assert_clean().await;
}

async fn messages_keep_the_order_in_which_they_were_appended(data: Data) {
    let place = begun(&data).await;
    let (tenant, user, id) = place;
    let mut expected = Vec::new();
    // The same millisecond again and again, and a clock that goes back.
    for (n, now) in [5, 5, 5, 5, 3, 4, 5, 100, 100, 99].into_iter().enumerate() {
        let new = message(&data, &n.to_string());
        let stored = data.repositories.messages().append(tenant, user, id, &new, now).await.unwrap();
        assert!(stored.created_at >= now);
        expected.push(new.content);
    }
    assert_eq!(said(&data, place, Order::OldestFirst).await, expected);
    expected.reverse();
    assert_eq!(said(&data, place, Order::NewestFirst).await, expected);
    data.assert_clean().await;
}

async fn concurrent_messages_all_find_a_place(data: Data) {
    let place = begun(&data).await;
    let (tenant, user, id) = place;
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let (new, repositories) = (message(&data, &n.to_string()), data.repositories.clone());
            tokio::spawn(async move { repositories.messages().append(tenant, user, id, &new, 7).await })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.push(task.await.unwrap().unwrap().created_at);
    }
    times.sort_unstable();
    assert_eq!(times, (7..23).collect::<Vec<_>>());
    assert_eq!(said(&data, place, Order::OldestFirst).await.len(), 16);
    data.assert_clean().await;
}

async fn a_reader_who_pages_misses_no_message(data: Data) {
    let (tenant, user, id) = begun(&data).await;
    let messages = data.repositories.messages();
    let (mut seen, mut after, mut sent) = (Vec::new(), None::<TimeCursor>, 0);
    loop {
        // The clock stands still; others write between the pages, up to a point.
        for _ in 0..if sent < 20 { 5 } else { 0 } {
            let new = message(&data, &sent.to_string());
            messages.append(tenant, user, id, &new, 1).await.unwrap();
            sent += 1;
        }
        let order = Order::OldestFirst;
        let page = messages.list(tenant, user, id, after.as_ref(), order, 4).await.unwrap().unwrap();
        seen.extend(page.items.into_iter().map(|message| message.content));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..sent).map(|n| n.to_string()).collect::<Vec<_>>());
}

async fn a_message_sent_twice_is_stored_once(data: Data) {
    let place = begun(&data).await;
    let (tenant, user, id) = place;
    let messages = data.repositories.messages();
    let new = message(&data, "once");
    let first = messages.append(tenant, user, id, &new, 1).await.unwrap();
    messages.append(tenant, user, id, &message(&data, "more"), 2).await.unwrap();
    assert_eq!(messages.append(tenant, user, id, &new, 3).await.unwrap(), first);
    assert_eq!(messages.get(tenant, user, id, new.id).await.unwrap(), Some(first));
    let other = NewMessage { content: "other".into(), ..new };
    let taken = messages.append(tenant, user, id, &other, 4).await;
    assert!(matches!(taken, Err(UpdateError::Taken)));
    assert_eq!(said(&data, place, Order::OldestFirst).await, ["once", "more"]);
}

async fn a_message_that_no_value_can_hold_is_refused(data: Data) {
    let place = begun(&data).await;
    let (tenant, user, id) = place;
    let new = message(&data, &"x".repeat(100_000));
    let refused = data.repositories.messages().append(tenant, user, id, &new, 1).await;
    assert!(matches!(refused, Err(UpdateError::Store(StoreError::ValueTooLarge { .. }))), "{refused:?}");
    assert!(said(&data, place, Order::OldestFirst).await.is_empty());
}

async fn a_conversation_goes_with_its_messages_and_nothing_else_does(data: Data) {
    let gone = begun(&data).await;
    let (tenant, user, id) = gone;
    let before = data.dump().await;
    let other = conversation(&data, tenant, user, None);
    data.repositories.conversations().create(&other).await.unwrap();
    for n in 0..30 {
        let new = message(&data, &n.to_string());
        data.repositories.messages().append(tenant, user, id, &new, n).await.unwrap();
        let new = message(&data, &n.to_string());
        data.repositories.messages().append(tenant, user, other.id, &new, n).await.unwrap();
    }
    let stale = data.repositories.conversations().delete(tenant, user, id, Some(2)).await;
    assert!(matches!(stale, Err(UpdateError::VersionMismatch { current: 1 })));
    data.repositories.conversations().delete(tenant, user, id, Some(1)).await.unwrap();
    assert_eq!(
        data.repositories.messages().list(tenant, user, id, None, Order::OldestFirst, 9).await.unwrap(),
        None
    );
    assert_eq!(said(&data, (tenant, user, other.id), Order::OldestFirst).await.len(), 30);
    let after = data.dump().await;
    assert_eq!(after.len(), before.len() + 60, "one conversation with 30 messages and an entry each");
    assert!(!after.keys().any(|path| path.contains(&id.to_string())));
    data.assert_clean().await;
}
