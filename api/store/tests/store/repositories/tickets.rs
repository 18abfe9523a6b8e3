//! Which one-use tickets were used.

use uuid::Uuid;

use super::{Data, checks};
use crate::support::NOW;

checks![
    a_ticket_is_used_once,
    of_many_who_use_a_ticket_at_once_one_may,
    what_has_long_expired_is_removed_a_little_at_a_time,
];

async fn entries(data: &Data) -> usize {
    data.dump().await.keys().filter(|path| path.contains("/tickets_used/")).count()
}

async fn a_ticket_is_used_once(data: Data) {
    let tickets = data.repositories.tickets();
    let (first, second) = (data.id(), data.id());
    assert!(tickets.redeem(first, NOW + 30).await.unwrap());
    assert!(!tickets.redeem(first, NOW + 30).await.unwrap());
    assert!(tickets.redeem(second, NOW + 30).await.unwrap(), "another one of the same minute");
    assert!(!tickets.redeem(first, NOW + 30).await.unwrap());
    assert_eq!(entries(&data).await, 2);
    data.assert_clean().await;
}

async fn of_many_who_use_a_ticket_at_once_one_may(data: Data) {
    let ticket = data.id();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let repositories = data.repositories.clone();
            tokio::spawn(async move { repositories.tickets().redeem(ticket, NOW + 30).await })
        })
        .collect();
    let mut let_in = 0;
    for task in tasks {
        let_in += usize::from(task.await.unwrap().unwrap());
    }
    assert_eq!((let_in, entries(&data).await), (1, 1));
}

async fn what_has_long_expired_is_removed_a_little_at_a_time(data: Data) {
    let tickets = data.repositories.tickets();
    let kept: Vec<Uuid> = (0..3).map(|_| data.id()).collect();
    for (ticket, exp) in kept.iter().zip([NOW - 5 * 60, NOW, NOW + 30]) {
        assert!(tickets.redeem(*ticket, exp).await.unwrap());
    }
    // Each adds one and may remove several, but never one that a clock somewhat behind could still ask for.
    for age in 1..=20 {
        assert!(tickets.redeem(data.id(), NOW - 6 * 60 - age).await.unwrap());
    }
    assert!(tickets.redeem(data.id(), NOW + 30).await.unwrap());
    assert!(tickets.redeem(data.id(), NOW + 30).await.unwrap());
    assert_eq!(entries(&data).await, kept.len() + 2);
    for (ticket, exp) in kept.iter().zip([NOW - 5 * 60, NOW, NOW + 30]) {
        assert!(!tickets.redeem(*ticket, exp).await.unwrap());
    }
    data.assert_clean().await;
}
