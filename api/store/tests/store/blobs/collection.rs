//! What goes, and what must not.

use coditect_auth::{Clock, Entropy};
use coditect_store::blobs::{BlobError, CHUNK_BYTES, Depth, add_reference};

use super::{BATCH_BYTES, MINUTE, Rig, content, fill};
use crate::support::assert_conflict;

#[tokio::test]
async fn an_abandoned_upload_goes_after_an_hour_and_cannot_be_gone_on_with() {
    let r = Rig::new();
    let mut upload = fill(r.blobs.upload(r.tenant), &vec![3; 3 * BATCH_BYTES]).await;
    // The last batch is on its way; the next write waits for it.
    upload.write(&vec![3; BATCH_BYTES]).await.unwrap();
    r.clock.advance(59 * MINUTE);
    assert_eq!(r.collect().await.contents, 0);
    r.clock.advance(MINUTE);
    assert_eq!(r.collect().await.contents, 1);
    assert!(r.rows("blob_uploads").await.is_empty());
    let late = upload.write(&vec![3; 2 * BATCH_BYTES]).await;
    let late = late.and(upload.finish().await.map(|_| ()));
    assert!(matches!(late, Err(BlobError::Expired)), "{late:?}");
    assert!(r.rows("blob_contents").await.is_empty());
    assert!(r.rows("blobs").await.is_empty());
}

#[tokio::test]
async fn an_upload_that_trickles_lives() {
    let r = Rig::new();
    let mut upload = fill(r.blobs.upload(r.tenant), &vec![3; BATCH_BYTES]).await;
    for _ in 0..12 {
        r.clock.advance(20 * MINUTE);
        upload.write(&[3; 1000]).await.unwrap();
        // Let the touch be committed.
        while r.rows("blob_uploads").await.is_empty() {
            tokio::task::yield_now().await;
        }
    }
    r.clock.advance(20 * MINUTE);
    assert_eq!(r.collect().await.contents, 0);
    let blob = upload.finish().await.unwrap();
    assert_eq!(r.get(&blob.hash).await.unwrap().len(), BATCH_BYTES + 12_000);
}

#[tokio::test]
async fn a_blob_stays_while_it_has_a_reference_and_ten_minutes_longer() {
    let r = Rig::new();
    let (one, other) = (r.f.entropy.uuid(), r.f.entropy.uuid());
    let blob = r.put_for(one, &content(&*r.f.entropy, 5 * BATCH_BYTES)).await;
    r.refer(&blob.hash, other).await.unwrap();
    r.refer(&blob.hash, other).await.unwrap();
    r.clock.advance(1000 * MINUTE);
    assert_eq!(r.collect().await.blobs, 0);
    assert!(r.unrefer(&blob.hash, one).await);
    assert!(!r.unrefer(&blob.hash, one).await, "it was removed before");
    r.clock.advance(1000 * MINUTE);
    assert_eq!(r.collect().await.blobs, 0, "the other still needs it");

    assert!(r.unrefer(&blob.hash, other).await);
    r.clock.advance(10 * MINUTE - 1);
    assert_eq!(r.collect().await.blobs, 0);
    assert_eq!(r.faults(Depth::Content).await, []);
    r.clock.advance(1);
    let done = r.collect().await;
    assert_eq!((done.blobs, done.contents), (1, 1));
    for family in ["blobs", "blob_contents", "blob_uploads", "blob_garbage", "blob_references"] {
        assert!(r.rows(family).await.is_empty(), "{family}");
    }
}

#[tokio::test]
async fn a_new_reference_or_upload_begins_the_time_of_grace_anew() {
    let r = Rig::new();
    let (owner, bytes) = (r.f.entropy.uuid(), content(&*r.f.entropy, 10));
    let blob = r.put(&bytes).await;
    r.clock.advance(9 * MINUTE);
    r.refer(&blob.hash, owner).await.unwrap();
    r.unrefer(&blob.hash, owner).await;
    r.clock.advance(9 * MINUTE);
    assert_eq!(r.collect().await.blobs, 0);
    r.put(&bytes).await;
    r.clock.advance(9 * MINUTE);
    assert_eq!(r.collect().await.blobs, 0);
    assert_eq!(r.rows("blob_garbage").await.len(), 1);
    r.clock.advance(MINUTE);
    assert_eq!(r.collect().await.blobs, 1);
}

#[tokio::test]
async fn a_reference_that_comes_too_late_fails() {
    let r = Rig::new();
    let blob = r.put(&content(&*r.f.entropy, 10)).await;
    r.clock.advance(10 * MINUTE);
    let (t, owner) = (r.f.store.begin(), r.f.entropy.uuid());
    add_reference(&t, &r.scope(), &blob.hash, owner).await.unwrap();
    assert_eq!(r.collect().await.blobs, 1);
    assert_conflict(t.commit().await);
    assert!(matches!(r.refer(&blob.hash, owner).await, Err(BlobError::NotFound { .. })));
    assert_eq!(r.faults(Depth::Content).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_reference_and_the_collector_one_wins() {
    const ROUNDS: usize = 60;
    let r = Rig::new();
    let mut kept = 0;
    for round in 0..ROUNDS {
        let written = content(&*r.f.entropy, 10 + round);
        let blob = r.put(&written).await;
        r.clock.advance(10 * MINUTE);
        let (store, scope, owner) = (r.f.store.clone(), r.scope(), r.f.entropy.uuid());
        let referring = tokio::spawn(async move {
            let (scope, hash) = (&scope, &blob.hash);
            let add = |t| async move { add_reference(&t, scope, hash, owner).await };
            store.run(&coditect_store::RetryPolicy::idempotent(), add).await
        });
        let mut collector = r.blobs.collector();
        let (blobs, now) = (r.blobs.clone(), r.clock.now_millis());
        let collecting = tokio::spawn(async move { collector.collect(now).await });
        let (referred, collected) = tokio::join!(referring, collecting);
        drop(blobs);
        let collected = collected.unwrap().unwrap().blobs;
        match referred.unwrap() {
            Ok(_) => {
                assert_eq!(collected, 0, "round {round}");
                assert!(r.get(&blob.hash).await.unwrap() == written);
                kept += 1;
            }
            Err(BlobError::NotFound { .. }) => assert_eq!(collected, 1, "round {round}"),
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    println!("{kept} of {ROUNDS} were kept");
    assert_eq!(r.faults(Depth::Content).await, []);
}

#[tokio::test]
async fn a_call_does_a_bounded_part_and_the_next_goes_on() {
    const TENANTS: usize = 300;
    let mut r = Rig::new();
    for _ in 0..TENANTS {
        r.tenant = r.f.entropy.uuid();
        r.put(b"x").await;
    }
    r.clock.advance(10 * MINUTE);
    let now = r.clock.now_millis();
    let mut collector = r.blobs.collector();
    let first = collector.collect(now).await.unwrap();
    assert!(first.more && first.blobs > 0 && first.blobs < TENANTS, "{first:?}");
    let mut blobs = first.blobs;
    let mut calls = 1;
    loop {
        let done = collector.collect(now).await.unwrap();
        blobs += done.blobs;
        calls += 1;
        if !done.more {
            break;
        }
    }
    assert_eq!(blobs, TENANTS);
    assert!(calls <= 4, "{calls} calls");
    assert!(r.rows("blob_contents").await.is_empty());
    let again = collector.collect(now).await.unwrap();
    assert_eq!((again.more, again.blobs), (false, 0), "it begins anew and finds nothing");
}

#[tokio::test]
async fn a_damaged_record_of_one_tenant_does_not_keep_anothers_garbage() {
    let mut r = Rig::new();
    r.put(&content(&*r.f.entropy, CHUNK_BYTES)).await;
    let row = r.rows("blobs").await.remove(0);
    super::tamper(&r.f.store, &row.key, Some("\u{1}{".into())).await;
    // A greater id than the first tenant's, so that it comes after it.
    r.tenant = uuid::Uuid::max();
    r.put(b"x").await;
    r.clock.advance(10 * MINUTE);
    assert_eq!(r.collect().await.blobs, 1);
    assert_eq!(
        r.rows("blobs").await,
        [coditect_store::contract::Row { key: row.key, value: "\u{1}{".into() }]
    );
}
