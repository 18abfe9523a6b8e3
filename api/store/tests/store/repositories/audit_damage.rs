//! Whatever single thing is done to a stored trail, the verification finds it and says where.

use std::collections::BTreeMap;

use bytes::Bytes;
use coditect_auth::{Entropy, SeededEntropy};
use coditect_store::audit::{AuditFault, AuditProblem, chain, heads};
use coditect_store::records::{AuditEntry, AuditHead};
use uuid::Uuid;

use super::audit::{entry, verified};
use super::{Data, NOW_MS, checks};
use crate::seeds::{reproduce, seeds};

checks![
    every_byte_of_every_row_is_vouched_for,
    removed_exchanged_and_repeated_entries_are_named,
    an_entry_written_anew_with_a_right_hash_is_found,
    a_tail_that_was_cut_with_its_head_is_found_by_an_earlier_head,
    a_trail_written_anew_as_a_whole_is_found_by_an_earlier_head,
];

/// Entries of the trail that is damaged.
const ENTRIES: u64 = 7;

/// Two trails; the rows of the first, by path, and its tenant.
async fn trail(data: &Data) -> (Uuid, BTreeMap<String, Bytes>) {
    let (tenant, other) = (data.id(), data.id());
    let audit = data.repositories.audit();
    for n in 0..ENTRIES {
        let new =
            entry(data, NOW_MS + i64::try_from(n / 2).unwrap(), Some(data.id()), &format!("o{}", n % 3));
        audit.append(tenant, std::slice::from_ref(&new)).await.unwrap();
        audit.append(other, &[new]).await.unwrap();
    }
    assert!(verified(data, &[]).await.is_clean());
    let rows = data.dump().await.into_iter().filter(|(path, _)| path.contains(&tenant.to_string()));
    (tenant, rows.collect())
}

/// The paths of the entries, in the order of the chain.
fn entries(rows: &BTreeMap<String, Bytes>) -> Vec<&String> {
    rows.keys().filter(|path| path.contains("/audit/")).collect()
}

async fn problems(data: &Data, heads: &[AuditHead]) -> Vec<AuditProblem> {
    verified(data, heads).await.problems
}

async fn every_byte_of_every_row_is_vouched_for(data: Data) {
    let (tenant, rows) = trail(&data).await;
    let mut found = 0;
    for seed in seeds(150) {
        let dice = SeededEntropy::new(seed);
        let below = |bound: usize| {
            let mut bytes = [0; 8];
            dice.fill(&mut bytes);
            usize::try_from(u64::from_le_bytes(bytes) % bound as u64).unwrap()
        };
        let (path, value) = rows.iter().nth(below(rows.len())).unwrap();
        let mut changed = value.to_vec();
        let done = match below(3) {
            // An index entry's value is empty: then it gets one.
            0 if !changed.is_empty() => {
                let at = below(changed.len());
                changed[at] ^= 1 << below(8);
                format!("byte {at} of {path}")
            }
            0 | 1 => {
                let at = below(changed.len() + 1);
                changed.insert(at, u8::try_from(below(256)).unwrap());
                format!("a byte more at {at} of {path}")
            }
            _ => {
                changed.clear();
                data.plant(path, None).await;
                format!("{path} removed")
            }
        };
        if !changed.is_empty() {
            data.plant(path, Some(&changed)).await;
        }
        let report = problems(&data, &[]).await;
        let context = reproduce(seed, "every_byte");
        assert!(!report.is_empty(), "{done} was not found; {context}");
        assert!(report.iter().all(|problem| problem.tenant == tenant), "{report:#?}; {context}");
        if path.contains("/audit/") {
            let place = entries(&rows).iter().position(|entry| *entry == path).unwrap() as u64 + 1;
            let named = report.iter().any(|problem| problem.seq == Some(place));
            assert!(named, "{done}: entry {place} is not named in {report:#?}; {context}");
        }
        data.plant(path, Some(value)).await;
        found += 1;
    }
    assert!(found > 0);
    assert!(verified(&data, &[]).await.is_clean());
}

async fn removed_exchanged_and_repeated_entries_are_named(data: Data) {
    let (_, rows) = trail(&data).await;
    let paths: Vec<_> = entries(&rows).into_iter().cloned().collect();
    for (n, path) in paths.iter().enumerate() {
        let seq = n as u64 + 1;
        data.plant(path, None).await;
        let found = problems(&data, &[]).await;
        let expected = match seq {
            ENTRIES => AuditFault::TailCut { head: ENTRIES, last: ENTRIES - 1 },
            _ => AuditFault::Missing { first: seq, last: seq },
        };
        assert!(found.iter().any(|p| p.seq == Some(seq) && p.fault == expected), "{found:#?}");
        data.plant(path, Some(&rows[path])).await;

        // Another entry in its place, its own key and all.
        let next = &paths[(n + 1) % paths.len()];
        data.plant(path, Some(&rows[next])).await;
        let found = problems(&data, &[]).await;
        assert!(found.iter().any(|problem| problem.seq == Some(seq)), "{found:#?}");
        data.plant(next, Some(&rows[path])).await;
        assert!(!problems(&data, &[]).await.is_empty(), "exchanged");
        data.plant(path, Some(&rows[path])).await;
        data.plant(next, Some(&rows[next])).await;

        // The same entry once more, later.
        let id = Uuid::max();
        let (tenant, _) = path.rsplit_once("/audit/").unwrap();
        let copy = format!("{tenant}/audit/{}/{id}", NOW_MS + 1000);
        data.plant(&copy, Some(&rows[path])).await;
        let found = problems(&data, &[]).await;
        let repeated = AuditFault::OutOfPlace { after: ENTRIES };
        assert!(found.iter().any(|p| p.seq == Some(seq) && p.fault == repeated), "{found:#?}");
        data.plant(&copy, None).await;
    }
    assert!(verified(&data, &[]).await.is_clean());
}

/// Writes a record as the program does.
async fn plant_entry(data: &Data, path: &str, entry: &AuditEntry) {
    let value = [&[2], serde_json::to_string(entry).unwrap().as_bytes()].concat();
    data.plant(path, Some(&value)).await;
}

fn read(rows: &BTreeMap<String, Bytes>, path: &str) -> AuditEntry {
    serde_json::from_slice(&rows[path][1..]).unwrap()
}

async fn an_entry_written_anew_with_a_right_hash_is_found(data: Data) {
    let (_, rows) = trail(&data).await;
    for (n, path) in entries(&rows).into_iter().enumerate() {
        let mut forged = read(&rows, path);
        forged.address = Some("198.51.100.1".into());
        let link = forged.link.as_mut().unwrap();
        let (seq, prev) = (link.seq, link.prev);
        assert_eq!(seq, n as u64 + 1);
        let hash = chain::hash(&forged, seq, &prev);
        forged.link.as_mut().unwrap().hash = hash;
        plant_entry(&data, path, &forged).await;
        let found = problems(&data, &[]).await;
        let [problem] = found.as_slice() else { panic!("{found:#?}") };
        match problem.fault {
            AuditFault::Exchanged => assert_eq!(problem.seq, Some(seq + 1)),
            AuditFault::HeadDiffers { .. } => assert_eq!((problem.seq, seq), (Some(seq), ENTRIES)),
            _ => panic!("{found:#?}"),
        }
        data.plant(path, Some(&rows[path])).await;
    }
}

/// Removes the entries after `keep`, with their index entries, and puts the head back to there.
async fn cut(data: &Data, tenant: Uuid, rows: &BTreeMap<String, Bytes>, keep: usize) {
    let all = entries(rows);
    for path in &all[keep..] {
        let (_, place) = path.rsplit_once("/audit/").unwrap();
        for path in rows.keys().filter(|path| path.ends_with(place)) {
            data.plant(path, None).await;
        }
    }
    let head = format!("/test/tenant/{tenant}/audit_head");
    match keep.checked_sub(1).map(|last| read(rows, all[last])) {
        Some(last) => {
            let AuditEntry { at, link, .. } = last;
            let link = link.unwrap();
            let head_record = AuditHead { tenant_id: tenant, seq: link.seq, hash: link.hash, at };
            let value = [&[1], serde_json::to_string(&head_record).unwrap().as_bytes()].concat();
            data.plant(&head, Some(&value)).await;
        }
        None => data.plant(&head, None).await,
    }
}

async fn a_tail_that_was_cut_with_its_head_is_found_by_an_earlier_head(data: Data) {
    let (tenant, rows) = trail(&data).await;
    let earlier = heads(&data.store, &data.keys).await.unwrap().heads;
    assert_eq!(earlier.len(), 2);
    assert!(verified(&data, &earlier).await.is_clean());
    for keep in (0..usize::try_from(ENTRIES).unwrap()).rev() {
        cut(&data, tenant, &rows, keep).await;
        assert!(verified(&data, &[]).await.is_clean(), "nothing in the store tells");
        let found = problems(&data, &earlier).await;
        let fault = AuditFault::SignedTailCut { signed: ENTRIES, last: keep as u64 };
        assert_eq!(found, [AuditProblem { tenant, seq: Some(keep as u64 + 1), fault }]);
    }
    // What is written after the cut does not hide it.
    for n in 0..ENTRIES {
        data.repositories.audit().append(tenant, &[entry(&data, NOW_MS, None, "new")]).await.unwrap();
        assert!(verified(&data, &[]).await.is_clean());
        assert!(!verified(&data, &earlier).await.is_clean(), "{n} new entries");
    }
    let found = problems(&data, &earlier).await;
    assert_eq!(found, [AuditProblem { tenant, seq: Some(ENTRIES), fault: AuditFault::SignedDiffers }]);
}

async fn a_trail_written_anew_as_a_whole_is_found_by_an_earlier_head(data: Data) {
    let (tenant, rows) = trail(&data).await;
    let earlier = heads(&data.store, &data.keys).await.unwrap().heads;
    cut(&data, tenant, &rows, 3).await;
    let new: Vec<_> = (0..9).map(|_| entry(&data, NOW_MS + 3, None, "new")).collect();
    data.repositories.audit().append(tenant, &new).await.unwrap();
    assert!(verified(&data, &[]).await.is_clean());
    let found = problems(&data, &earlier).await;
    assert_eq!(found, [AuditProblem { tenant, seq: Some(ENTRIES), fault: AuditFault::SignedDiffers }]);
}
