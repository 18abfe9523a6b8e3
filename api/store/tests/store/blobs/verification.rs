//! Checking a tenant's blobs.

use coditect_auth::Entropy;
use coditect_store::blobs::{BlobCounts, BlobFaultKind, CHUNK_BYTES, Depth, verify_tenant};

use super::{BATCH_BYTES, Rig, content, fill, tamper};

#[tokio::test]
async fn whole_blobs_are_counted_and_have_no_fault() {
    let r = Rig::new();
    let owner = r.f.entropy.uuid();
    r.put(b"").await;
    r.put_for(owner, &content(&*r.f.entropy, 3 * CHUNK_BYTES)).await;
    let upload = fill(r.blobs.upload(r.tenant), &vec![1; 2 * BATCH_BYTES]).await;
    while r.rows("blob_uploads").await.is_empty() {
        tokio::task::yield_now().await;
    }
    for depth in [Depth::Shape, Depth::Content] {
        let counts = verify_tenant(&r.f.store, &r.scope(), depth, |fault| panic!("{fault}")).await.unwrap();
        assert_eq!(counts, BlobCounts { blobs: 2, chunks: 3, references: 1, uploads: 1 });
    }
    upload.abort().await.unwrap();
}

#[tokio::test]
async fn a_flipped_bit_is_found_by_the_deep_check_alone() {
    let r = Rig::new();
    r.put(&content(&*r.f.entropy, 3 * CHUNK_BYTES)).await;
    let row = r.rows("blob_contents").await.remove(1);
    let mut value = row.value.to_vec();
    value[CHUNK_BYTES / 2] ^= 1;
    tamper(&r.f.store, &row.key, Some(value.into())).await;
    assert_eq!(r.faults(Depth::Shape).await, []);
    let faults = r.faults(Depth::Content).await;
    assert!(matches!(&faults[..], [fault] if fault.to_string().contains("chunk 1")), "{faults:?}");
}

/// What is tampered with, and what must be found.
type Case = (&'static str, usize, Option<&'static str>, fn(&BlobFaultKind) -> bool);

#[tokio::test]
async fn every_kind_of_fault_is_found() {
    let cases: &[Case] = &[
        ("blob_contents", 2, None, |kind| matches!(kind, BlobFaultKind::Damaged { .. })),
        ("blob_contents", 0, None, |kind| matches!(kind, BlobFaultKind::Damaged { .. })),
        ("blob_contents", 1, Some("short"), |kind| matches!(kind, BlobFaultKind::Damaged { .. })),
        ("blobs", 0, Some("\u{2}"), |kind| matches!(kind, BlobFaultKind::Unreadable(_))),
        ("blobs", 0, None, |kind| matches!(kind, BlobFaultKind::Stray { .. })),
        ("blobs", 0, None, |kind| matches!(kind, BlobFaultKind::Dangling { .. })),
        ("blob_references", 0, None, |kind| matches!(kind, BlobFaultKind::Garbage { .. })),
    ];
    for (family, index, value, expected) in cases {
        let r = Rig::new();
        r.put_for(r.f.entropy.uuid(), &content(&*r.f.entropy, 3 * CHUNK_BYTES)).await;
        let row = r.rows(family).await.remove(*index);
        tamper(&r.f.store, &row.key, value.map(Into::into)).await;
        let faults = r.faults(Depth::Shape).await;
        assert!(faults.iter().any(|fault| expected(&fault.kind)), "{family}: {faults:?}");
    }
    // A blob without a reference has its entry; without it, it would never go.
    let r = Rig::new();
    r.put(b"x").await;
    let row = r.rows("blob_garbage").await.remove(0);
    tamper(&r.f.store, &row.key, None).await;
    let faults = r.faults(Depth::Shape).await;
    assert!(
        matches!(&faults[..], [fault] if matches!(fault.kind, BlobFaultKind::Garbage { .. })),
        "{faults:?}"
    );
}
