//! Writing blobs.

use std::sync::atomic::Ordering;

use std::sync::Arc;

use coditect_auth::{Clock, Entropy, ManualClock, SeededEntropy};
use coditect_store::blobs::{
    BlobError, BlobHash, Blobs, CHUNK_BYTES, Depth, MAX_BLOB_BYTES, add_reference, verify_tenant,
};
use coditect_store::{Keyspace, Store, StoreError};
use futures::FutureExt;
use futures::future::try_join_all;

use super::{BATCH_BYTES, Rig, content, fill, rows};
use crate::faulty::{Fate, Faulty};
use crate::support::NOW;

#[tokio::test]
async fn contents_of_every_awkward_length_come_back() {
    let r = Rig::new();
    let chunks = [0, 1, 2, 15, 16, 17, 32, 70];
    let lengths =
        chunks.iter().flat_map(|n| [n * CHUNK_BYTES, n * CHUNK_BYTES + 1, (n * CHUNK_BYTES).max(1) - 1]);
    for length in lengths {
        let written = content(&*r.f.entropy, length);
        let blob = r.put(&written).await;
        assert_eq!((blob.hash, blob.size), (BlobHash::of(&written), length as u64));
        assert!(r.get(&blob.hash).await.unwrap() == written, "{length} bytes");
    }
    assert!(r.rows("blob_uploads").await.is_empty(), "no upload is left");
    assert_eq!(r.faults(Depth::Content).await, []);
}

#[tokio::test]
async fn nothing_is_seen_before_the_end_and_the_callers_write_with_it() {
    let r = Rig::new();
    let written = content(&*r.f.entropy, 2 * BATCH_BYTES + 5);
    let upload = fill(r.blobs.upload(r.tenant), &written).await;
    let hash = BlobHash::of(&written);
    assert!(r.blobs.open(r.tenant, &hash).await.unwrap().is_none());

    let owner = r.f.entropy.uuid();
    let scope = &r.scope();
    let blob = upload
        .finish_with(|t, blob| async move {
            t.set("file", blob.hash.to_string())?;
            add_reference(&t, scope, &blob.hash, owner).await
        })
        .await
        .unwrap();
    assert_eq!(crate::support::value(&r.f.store, "file").await, Some(hash.to_string()));
    assert_eq!(blob.hash, hash);
    assert_eq!(r.rows("blob_references").await.len(), 1);
    assert!(r.rows("blob_garbage").await.is_empty(), "it has a reference");
}

#[tokio::test]
async fn a_caller_that_refuses_leaves_nothing_visible() {
    let r = Rig::new();
    let written = content(&*r.f.entropy, BATCH_BYTES + 1);
    let upload = fill(r.blobs.upload(r.tenant), &written).await;
    let refused = upload
        .finish_with(|t, blob| async move {
            t.set("file", "x")?;
            Err::<(), _>(BlobError::NotFound { hash: blob.hash })
        })
        .await;
    assert!(matches!(refused, Err(BlobError::NotFound { .. })));
    assert!(r.blobs.open(r.tenant, &BlobHash::of(&written)).await.unwrap().is_none());
    assert_eq!(crate::support::value(&r.f.store, "file").await, None);
    r.clock.advance(3600);
    assert_eq!(r.collect().await.contents, 1);
    assert!(r.rows("blob_contents").await.is_empty());
}

#[tokio::test]
async fn one_tenant_has_a_content_once_and_another_does_not_see_it() {
    let mut r = Rig::new();
    let written = content(&*r.f.entropy, BATCH_BYTES + CHUNK_BYTES);
    let blob = r.put(&written).await;
    r.put(&written).await;
    assert_eq!(r.collect().await.contents, 1, "the second copy");
    assert_eq!(r.rows("blob_contents").await.len(), 17);

    r.tenant = r.f.entropy.uuid();
    assert!(matches!(r.get(&blob.hash).await, Err(BlobError::NotFound { .. })));
    let owner = r.f.entropy.uuid();
    assert!(matches!(r.refer(&blob.hash, owner).await, Err(BlobError::NotFound { .. })));
    r.put(&written).await;
    assert_eq!(r.rows("blob_contents").await.len(), 34, "its own copy");
    assert!(r.get(&blob.hash).await.unwrap() == written);
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_stays_so() {
    let r = Rig::new();
    let blobs = r.blobs.clone().with_limit(100_000);
    let mut upload = blobs.upload(r.tenant);
    upload.write(&[7; 100_000]).await.unwrap();
    let error = upload.write(&[7]).await.unwrap_err();
    assert!(matches!(error, BlobError::TooLarge { limit: 100_000 }), "{error}");
    assert!(matches!(upload.write(&[]).await, Err(BlobError::TooLarge { .. })));
    assert!(matches!(upload.finish().await, Err(BlobError::TooLarge { .. })));
    let mut upload = blobs.upload(r.tenant);
    upload.write(&[7; 100_000]).await.unwrap();
    upload.finish().await.unwrap();

    // Pages of zeros that nobody touches cost nothing.
    let huge = vec![0; usize::try_from(MAX_BLOB_BYTES).unwrap() + 1];
    let mut upload = r.blobs.clone().with_limit(u64::MAX).upload(r.tenant);
    assert!(matches!(upload.write(&huge).await, Err(BlobError::TooLarge { limit: MAX_BLOB_BYTES })));
}

#[tokio::test]
async fn a_write_that_was_cut_off_ends_the_upload() {
    let r = Rig::new();
    let mut upload = r.blobs.upload(r.tenant);
    let cut = upload.write(&vec![1; 3 * BATCH_BYTES]).now_or_never();
    assert!(cut.is_none(), "it waits for the first batch");
    assert!(matches!(upload.write(&[1]).await, Err(BlobError::Interrupted)));
    assert!(matches!(upload.finish().await, Err(BlobError::Interrupted)));
}

#[tokio::test]
async fn an_aborted_upload_goes_with_the_next_collection() {
    let r = Rig::new();
    r.blobs.upload(r.tenant).abort().await.unwrap();
    let upload = fill(r.blobs.upload(r.tenant), &vec![1; BATCH_BYTES * 3]).await;
    upload.abort().await.unwrap();
    assert_eq!(r.collect().await.contents, 1);
    assert!(r.rows("blob_uploads").await.is_empty() && r.rows("blob_contents").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn uploads_of_the_same_content_race_and_one_copy_stays() {
    let r = Rig::new();
    let written = content(&*r.f.entropy, BATCH_BYTES + 77);
    let owners: Vec<_> = (0..6).map(|_| r.f.entropy.uuid()).collect();
    let racing = owners.iter().map(|owner| {
        let (blobs, scope, written, tenant, owner) =
            (r.blobs.clone(), r.scope(), written.clone(), r.tenant, *owner);
        tokio::spawn(async move {
            let upload = fill(blobs.upload(tenant), &written).await;
            let scope = &scope;
            upload
                .finish_with(|t, blob| async move { add_reference(&t, scope, &blob.hash, owner).await })
                .await
        })
    });
    let blobs = try_join_all(racing).await.unwrap();
    let hash = BlobHash::of(&written);
    assert!(blobs.into_iter().all(|blob| blob.unwrap().hash == hash));
    assert_eq!(r.collect().await.contents, 5, "all copies but one");
    assert_eq!((r.rows("blobs").await.len(), r.rows("blob_references").await.len()), (1, 6));
    assert!(r.get(&hash).await.unwrap() == written);
    assert_eq!(r.faults(Depth::Content).await, []);
}

#[tokio::test]
async fn lost_answers_of_commits_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, faults) = Faulty::open(dir.path().join("s.redb"));
    let entropy = Arc::new(SeededEntropy::new(9));
    let (store, keys) = (Store::new(Arc::new(backend), entropy.clone()), Keyspace::new("test"));
    let blobs = Blobs::new(store.clone(), keys.clone(), Arc::new(ManualClock::new(NOW)), entropy.clone());
    let scope = &keys.tenant(entropy.uuid());
    // Two batches and the end, with some of all the sequences of fates that their commits can have.
    let plans = (1..Fate::KINDS.pow(5)).step_by(157);
    let uploads = i64::try_from(plans.len()).unwrap();
    for plan in plans {
        let written = content(&*entropy, 2 * BATCH_BYTES + 9);
        let owner = entropy.uuid();
        faults.plan(Fate::plan(plan));
        let blob = fill(blobs.upload(scope.id()), &written)
            .await
            .finish_with(|t, blob| async move {
                t.add("counter", 1)?;
                add_reference(&t, scope, &blob.hash, owner).await
            })
            .await;
        faults.stop().await;
        let mut reader = blobs.open(scope.id(), &blob.unwrap().hash).await.unwrap().unwrap();
        while reader.next_chunk().await.unwrap().is_some() {}
    }
    let counter = store.begin().get("counter").await.unwrap().unwrap();
    assert_eq!(counter.as_ref(), uploads.to_le_bytes(), "every end happened once");
    assert!(rows(&store, "blob_uploads").await.is_empty());
    let mut faults = Vec::new();
    verify_tenant(&store, scope, Depth::Content, |fault| faults.push(fault)).await.unwrap();
    assert_eq!(faults, []);
}

#[tokio::test]
async fn a_batch_that_arrives_after_the_end_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, faults) = Faulty::open(dir.path().join("s.redb"));
    let (entropy, clock) = (Arc::new(SeededEntropy::new(9)), Arc::new(ManualClock::new(NOW)));
    let (store, keys) = (Store::new(Arc::new(backend), entropy.clone()), Keyspace::new("test"));
    let blobs = Blobs::new(store.clone(), keys.clone(), clock.clone(), entropy.clone());
    let scope = &keys.tenant(entropy.uuid());
    let written = content(&*entropy, 2 * BATCH_BYTES + 9);
    for batch in 0..3 {
        faults.withheld.store(true, Ordering::SeqCst);
        faults.plan(std::iter::repeat_n(Fate::Fine, batch).chain([Fate::Late]));
        let owner = entropy.uuid();
        fill(blobs.upload(scope.id()), &written)
            .await
            .finish_with(|t, blob| async move { add_reference(&t, scope, &blob.hash, owner).await })
            .await
            .unwrap();
        faults.stop().await;
        clock.advance(2 * 3600);
        while blobs.collector().collect(clock.now_millis()).await.unwrap().more {}
        let mut found = Vec::new();
        verify_tenant(&store, scope, Depth::Content, |fault| found.push(fault)).await.unwrap();
        assert_eq!(found, [], "batch {batch}");
        assert!(rows(&store, "blob_uploads").await.is_empty(), "batch {batch}");
    }
}

#[tokio::test]
async fn a_store_that_closes_is_reported() {
    let r = Rig::new();
    let upload = fill(r.blobs.upload(r.tenant), &vec![1; BATCH_BYTES * 2]).await;
    r.f.store.close().await.unwrap();
    assert!(matches!(upload.finish().await, Err(BlobError::Store(StoreError::Closed))));
}
