//! Requests that clients repeat.

use coditect_store::records::{Session, StoredAnswer};
use coditect_store::{Claimed, RequestKey};
use futures::future::join_all;
use uuid::Uuid;

use super::{Data, NOW_MS, checks};
use crate::support::{registration, session};

checks![
    a_request_is_claimed_once_and_answered_the_same,
    a_key_is_its_users_and_stands_for_one_request,
    of_many_at_once_all_get_one_id_and_one_answer,
    a_request_is_forgotten_after_a_day,
    a_creation_that_is_repeated_until_it_is_answered_creates_one_object,
    the_sweep_forgets_what_is_old_of_every_tenant_and_nothing_else,
];

const DAY: i64 = 24 * 60 * 60 * 1000;

fn answer(text: &str) -> StoredAnswer {
    let tag = vec![("etag".to_owned(), "\"1\"".to_owned())];
    StoredAnswer::new(201, tag, format!("{{\"z\": 1, \"a\": \"{text}\"}}").as_bytes()).unwrap()
}

/// The id a claim gave.
fn begun(claimed: Claimed) -> Uuid {
    match claimed {
        Claimed::Begin { object, .. } => object,
        other => panic!("{other:?}"),
    }
}

async fn a_request_is_claimed_once_and_answered_the_same(data: Data) {
    let requests = data.repositories.requests();
    let asked = RequestKey { tenant: data.id(), user: data.id(), key: "k-1" };
    let first = data.id();
    assert_eq!(begun(requests.claim(asked, "f", first, NOW_MS).await.unwrap()), first);
    let again = requests.claim(asked, "f", data.id(), NOW_MS + 5).await.unwrap();
    assert!(
        matches!(again, Claimed::Begin { object, at } if (object, at) == (first, NOW_MS)),
        "an attempt that was cut off is taken up where it was: {again:?}"
    );
    let kept = requests.complete(asked, first, &answer("one")).await.unwrap();
    let late = requests.complete(asked, first, &answer("two")).await.unwrap();
    assert_eq!((kept.body(), late.body()), (answer("one").body(), kept.body()), "the first answer stays");
    let Claimed::Answered(replayed) = requests.claim(asked, "f", data.id(), NOW_MS + 9).await.unwrap() else {
        panic!("not answered")
    };
    assert_eq!((replayed.status(), replayed.headers()), (201, kept.headers()));
    assert_eq!(replayed.body(), "{\"z\": 1, \"a\": \"one\"}", "to the byte");
    data.assert_clean().await;
}

async fn a_key_is_its_users_and_stands_for_one_request(data: Data) {
    let requests = data.repositories.requests();
    let asked = RequestKey { tenant: data.id(), user: data.id(), key: "k" };
    let first = begun(requests.claim(asked, "f", data.id(), NOW_MS).await.unwrap());
    let other = requests.claim(asked, "g", data.id(), NOW_MS).await.unwrap();
    assert!(matches!(other, Claimed::Different), "{other:?}");
    requests.complete(asked, first, &answer("one")).await.unwrap();
    let other = requests.claim(asked, "g", data.id(), NOW_MS).await.unwrap();
    assert!(matches!(other, Claimed::Different), "{other:?}");
    for stranger in [
        RequestKey { user: data.id(), ..asked },
        RequestKey { tenant: data.id(), ..asked },
        RequestKey { key: "K", ..asked },
    ] {
        let fresh = data.id();
        assert_eq!(begun(requests.claim(stranger, "f", fresh, NOW_MS).await.unwrap()), fresh);
    }
    data.assert_clean().await;
}

async fn of_many_at_once_all_get_one_id_and_one_answer(data: Data) {
    let (tenant, user) = (data.id(), data.id());
    let attempts = (0..12).map(|n| {
        let data = data.clone();
        async move {
            let requests = data.repositories.requests();
            let asked = RequestKey { tenant, user, key: "k" };
            match requests.claim(asked, "f", data.id(), NOW_MS + n).await.unwrap() {
                Claimed::Begin { object, .. } => {
                    let body = answer(&object.to_string());
                    requests.complete(asked, object, &body).await.unwrap().body().to_owned()
                }
                Claimed::Answered(answer) => answer.body().to_owned(),
                Claimed::Different => panic!("the request is the same"),
            }
        }
    });
    let bodies = join_all(attempts).await;
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    data.assert_clean().await;
}

async fn a_request_is_forgotten_after_a_day(data: Data) {
    let requests = data.repositories.requests();
    let asked = RequestKey { tenant: data.id(), user: data.id(), key: "k" };
    let first = begun(requests.claim(asked, "f", data.id(), NOW_MS).await.unwrap());
    requests.complete(asked, first, &answer("one")).await.unwrap();
    let known = requests.claim(asked, "f", data.id(), NOW_MS + DAY - 1).await.unwrap();
    assert!(matches!(known, Claimed::Answered(_)), "{known:?}");
    let second = data.id();
    assert_eq!(begun(requests.claim(asked, "g", second, NOW_MS + DAY).await.unwrap()), second);
    let late = requests.complete(asked, first, &answer("late")).await.unwrap();
    assert_eq!(late.body(), answer("late").body(), "whoever is a day late answers for itself");
    let known = requests.claim(asked, "g", data.id(), NOW_MS + DAY).await.unwrap();
    assert_eq!(begun(known), second, "and leaves the new request alone");
    data.assert_clean().await;
}

/// What a client and the API do together, with each step cut off at times: by a fault of the store, where there are some,
/// and by an attempt that ends after the claim, or after the creation.
async fn a_creation_that_is_repeated_until_it_is_answered_creates_one_object(data: Data) {
    let (tenant, user) = (data.id(), data.id());
    for n in 0..6 {
        let key = format!("k{n}");
        let asked = RequestKey { tenant, user, key: &key };
        let attempts = (0..4).map(|attempt| {
            let data = data.clone();
            async move {
                let requests = data.repositories.requests();
                let claimed = requests.claim(asked, "f", data.id(), NOW_MS + attempt).await.unwrap();
                let Claimed::Begin { object, at } = claimed else { return claimed };
                if attempt == n % 4 {
                    return Claimed::Begin { object, at };
                }
                let new = Session { id: object, ..session(&*data.entropy, tenant, user, at) };
                data.repositories.sessions().create(&new).await.unwrap();
                if attempt == (n + 1) % 4 {
                    return Claimed::Begin { object, at };
                }
                let body = answer(&object.to_string());
                Claimed::Answered(requests.complete(asked, object, &body).await.unwrap())
            }
        });
        let ended = join_all(attempts).await;
        let answers = ended.iter().filter_map(|claimed| match claimed {
            Claimed::Answered(answer) => Some(answer.body()),
            _ => None,
        });
        let answers: Vec<_> = answers.collect();
        assert!(answers.len() >= 2 && answers.iter().all(|body| *body == answers[0]), "{ended:?}");
    }
    let stored = data.repositories.sessions().page(tenant, user, None, 50).await.unwrap().items;
    assert_eq!(stored.len(), 6, "one for each key");
    data.assert_clean().await;
}

async fn the_sweep_forgets_what_is_old_of_every_tenant_and_nothing_else(data: Data) {
    let requests = data.repositories.requests();
    let mut tenants = Vec::new();
    for n in 0..2 {
        let new = registration(&*data.entropy, &format!("ann{n}@example.com"));
        data.repositories.users().register(&new).await.unwrap();
        for old in 0..60 {
            let key = format!("old {old}");
            let asked = RequestKey { tenant: new.tenant.id, user: new.user.id, key: &key };
            requests.claim(asked, "f", data.id(), NOW_MS + old).await.unwrap();
        }
        let asked = RequestKey { tenant: new.tenant.id, user: new.user.id, key: "young" };
        requests.claim(asked, "f", data.id(), NOW_MS + 60).await.unwrap();
        tenants.push(new.tenant.id);
    }
    // A step whose answer was lost is counted by what its second run found.
    let swept = requests.sweep(NOW_MS + DAY + 59).await.unwrap();
    assert!((1..=120).contains(&swept), "{swept}");
    assert_eq!(requests.sweep(NOW_MS + DAY + 59).await.unwrap(), 0);
    let dump = data.dump().await;
    let left: Vec<_> = dump.keys().filter(|path| path.contains("/requests/")).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|path| path.ends_with("/young")), "{left:?}");
    data.assert_clean().await;
}
