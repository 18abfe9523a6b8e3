//! Reading blobs.

use std::time::Duration;

use bytes::Bytes;
use coditect_auth::Entropy;
use coditect_store::blobs::{BlobError, BlobReader, CHUNK_BYTES, add_reference, remove_reference};
use sha2::{Digest, Sha256};

use super::{BATCH_BYTES, MINUTE, Rig, content, fill, tamper};
use crate::support::NOW;

/// Reads on to the end or to an error.
async fn rest(reader: &mut BlobReader) -> (Vec<u8>, Option<BlobError>) {
    let mut read = Vec::new();
    loop {
        match reader.next_chunk().await {
            Ok(Some(chunk)) => read.extend_from_slice(&chunk),
            Ok(None) => return (read, None),
            Err(error) => return (read, Some(error)),
        }
    }
}

#[tokio::test]
async fn any_part_can_be_read() {
    let r = Rig::new();
    let written = content(&*r.f.entropy, 40 * CHUNK_BYTES + 17);
    let size = written.len() as u64;
    let blob = r.put(&written).await;
    let chunk = CHUNK_BYTES as u64;
    let mut ranges =
        vec![0..0, 0..1, 0..size, size..size, size - 1..size, chunk..2 * chunk, chunk - 1..chunk + 1];
    for _ in 0..30 {
        let mut random = [0; 8];
        r.f.entropy.fill(&mut random);
        let [a, b] =
            [&random[..4], &random[4..]].map(|x| u64::from(u32::from_le_bytes(x.try_into().unwrap())) % size);
        ranges.push(a.min(b)..a.max(b));
    }
    for range in ranges {
        let reader = r.blobs.open(r.tenant, &blob.hash).await.unwrap().unwrap();
        let (read, error) = rest(&mut reader.range(range.clone()).unwrap()).await;
        assert!(error.is_none(), "{range:?}: {error:?}");
        let expected = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        assert!(read == written[expected], "{range:?}");
    }
    for (begin, end) in [(0, size + 1), (size + 1, size + 1), (5, 4), (u64::MAX, u64::MAX)] {
        let reader = r.blobs.open(r.tenant, &blob.hash).await.unwrap().unwrap();
        let refused = reader.range(begin..end).err();
        assert!(matches!(refused, Some(BlobError::OutOfRange { .. })), "{begin}..{end}: {refused:?}");
    }
}

#[tokio::test]
async fn reading_goes_on_past_a_transactions_age() {
    let r = Rig::new();
    let written = content(&*r.f.entropy, 40 * CHUNK_BYTES);
    let blob = r.put(&written).await;
    let mut reader = r.blobs.open(r.tenant, &blob.hash).await.unwrap().unwrap();
    let mut read = Vec::new();
    while let Some(chunk) = reader.next_chunk().await.unwrap() {
        read.extend_from_slice(&chunk);
        r.f.clock.advance(Duration::from_secs(6));
    }
    assert!(read == written);
}

#[tokio::test]
async fn a_reader_sees_the_old_content_or_that_it_is_gone_never_a_mixture() {
    let r = Rig::new();
    let file = r.f.entropy.uuid();
    let (old, new) = (content(&*r.f.entropy, 40 * CHUNK_BYTES), content(&*r.f.entropy, 40 * CHUNK_BYTES));
    let before = r.put_for(file, &old).await;
    let mut reader = r.blobs.open(r.tenant, &before.hash).await.unwrap().unwrap();
    let mut cut_off = r.blobs.open(r.tenant, &before.hash).await.unwrap().unwrap();
    let first = cut_off.next_chunk().await.unwrap().unwrap();

    let scope = &r.scope();
    let upload = fill(r.blobs.upload(r.tenant), &new).await;
    upload
        .finish_with(|t, blob| async move {
            remove_reference(&t, scope, &before.hash, file, NOW * 1000).await?;
            add_reference(&t, scope, &blob.hash, file).await
        })
        .await
        .unwrap();
    r.clock.advance(9 * MINUTE);
    r.collect().await;
    let (read, error) = rest(&mut reader).await;
    assert!(error.is_none() && read == old, "within the time of grace it reads to its end");

    r.clock.advance(2 * MINUTE);
    assert_eq!(r.collect().await.blobs, 1);
    let (read, error) = rest(&mut cut_off).await;
    assert!(matches!(error, Some(BlobError::Gone { .. })), "{error:?}");
    let read = [first.to_vec(), read].concat();
    assert!(old.starts_with(&read) && read.len() < old.len());
    assert!(matches!(cut_off.next_chunk().await, Err(BlobError::Gone { .. })), "and it stays so");
}

#[tokio::test]
async fn a_blob_read_while_its_chunks_go_is_gone_and_not_damaged() {
    let r = Rig::new();
    let written = content(&*r.f.entropy, 5 * BATCH_BYTES);
    let blob = r.put(&written).await;
    let mut reader = r.blobs.open(r.tenant, &blob.hash).await.unwrap().unwrap();
    r.clock.advance(11 * MINUTE);
    let removing = async {
        let mut read = Vec::new();
        loop {
            match reader.next_chunk().await {
                Ok(Some(chunk)) => read.extend_from_slice(&chunk),
                other => return (read, other.err()),
            }
            tokio::task::yield_now().await;
        }
    };
    let ((read, error), _) = tokio::join!(removing, r.collect());
    assert!(written.starts_with(&read));
    assert!(matches!(error, None | Some(BlobError::Gone { .. })), "{error:?}");
}

#[tokio::test]
async fn a_damaged_blob_is_never_delivered_to_its_end_and_no_part_with_damage_at_all() {
    let written = content(&*Rig::new().f.entropy, 40 * CHUNK_BYTES + 5);
    for (what, chunk) in
        [("a bit", 0), ("a bit", 20), ("a bit", 40), ("missing", 0), ("missing", 17), ("missing", 40)]
    {
        let r = Rig::new();
        let blob = r.put(&written).await;
        let row = r.rows("blob_contents").await.swap_remove(chunk);
        let mut value = row.value.to_vec();
        *value.last_mut().unwrap() ^= 0x10;
        tamper(&r.f.store, &row.key, (what == "a bit").then(|| value.into())).await;
        let mut reader = r.blobs.open(r.tenant, &blob.hash).await.unwrap().unwrap();
        let (read, error) = rest(&mut reader).await;
        assert!(matches!(error, Some(BlobError::Damaged { .. })), "{what} {chunk}: {error:?}");
        assert!(read.len() <= 40 * CHUNK_BYTES, "{what} {chunk}: the last chunk was given out");
        assert!(matches!(reader.next_chunk().await, Err(BlobError::Damaged { .. })), "and it stays so");
        let reader = r.blobs.open(r.tenant, &blob.hash).await.unwrap().unwrap();
        let place = (chunk * CHUNK_BYTES) as u64;
        let (read, error) = rest(&mut reader.range(place..place + 1).unwrap()).await;
        assert!(read.is_empty() && matches!(error, Some(BlobError::Damaged { .. })), "a part: {error:?}");
    }
}

#[tokio::test]
async fn chunks_in_each_others_place_and_a_forged_chunk_are_damage() {
    let r = Rig::new();
    let written = content(&*r.f.entropy, 3 * CHUNK_BYTES);
    let blob = r.put(&written).await;
    let rows = r.rows("blob_contents").await;
    tamper(&r.f.store, &rows[0].key, Some(rows[1].value.clone())).await;
    assert!(matches!(r.get(&blob.hash).await, Err(BlobError::Damaged { .. })));

    // A chunk whose own digest is right: only the SHA-256 of the whole can tell.
    let bytes = vec![0_u8; CHUNK_BYTES];
    let content = &rows[0].key[rows[0].key.len() - 17..rows[0].key.len() - 1];
    let digest =
        Sha256::new().chain_update(content).chain_update(0_u32.to_be_bytes()).chain_update(&bytes).finalize();
    tamper(&r.f.store, &rows[0].key, Some(Bytes::from([digest.as_slice(), &bytes].concat()))).await;
    let mut reader = r.blobs.open(r.tenant, &blob.hash).await.unwrap().unwrap();
    let (read, error) = rest(&mut reader).await;
    assert!(
        matches!(&error, Some(BlobError::Damaged { reason, .. }) if reason.contains("SHA-256")),
        "{error:?}"
    );
    assert_eq!(read.len(), 2 * CHUNK_BYTES, "the last chunk is kept back");
}
