//! The state of workspaces, part by part.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use coditect_auth::{Entropy, SeededEntropy};
use coditect_store::contract::{
    Backend, BackendTransaction, Committed, Mutation, RangePage, RangeRead, ReadMode, Version, Watch,
};
use coditect_store::records::{Session, StatePart};
use coditect_store::verify::Disagreement;
use coditect_store::{
    Embedded, EmbeddedOptions, MAX_STATE_BYTES, Repositories, Store, StoreError, SystemMonotonicClock,
    UpdateError,
};
use tokio::sync::Barrier;
use uuid::Uuid;

use super::{Data, NOW_MS, checks};
use crate::support::{repositories, session};

checks![
    each_part_is_written_for_itself,
    expected_versions_of_a_part_are_held,
    a_part_of_any_size_up_to_the_limit_comes_back,
    another_user_or_tenant_reaches_no_state,
    readers_never_see_two_writes_mixed,
    state_goes_with_its_workspace_and_none_comes_after,
    damaged_state_is_named,
];

async fn workspace(data: &Data) -> Session {
    let new = session(&*data.entropy, data.id(), data.id(), 1);
    data.repositories.sessions().create(&new).await.unwrap();
    new
}

fn json(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn put(
    data: &Data,
    of: &Session,
    part: StatePart,
    content: &Bytes,
    expected: Option<u64>,
) -> Result<u64, UpdateError> {
    let states = data.repositories.session_states();
    let put = states.put(of.tenant_id, of.user_id, of.id, part, content, expected, NOW_MS).await;
    put.map(|state| state.version)
}

async fn get(data: &Data, of: &Session, part: StatePart) -> Option<(u64, Bytes)> {
    let found = data.repositories.session_states().get(of.tenant_id, of.user_id, of.id, part).await.unwrap();
    found.map(|(state, content)| {
        assert_eq!((state.part, state.size), (part, content.len() as u64));
        (state.version, content)
    })
}

async fn each_part_is_written_for_itself(data: Data) {
    let work = workspace(&data).await;
    for part in StatePart::ALL {
        assert_eq!(get(&data, &work, part).await, None);
        assert_eq!(put(&data, &work, part, &json(part.name()), None).await.unwrap(), 1);
    }
    assert_eq!(put(&data, &work, StatePart::Editor, &json("[2]"), None).await.unwrap(), 2);
    assert_eq!(put(&data, &work, StatePart::Editor, &json("[2]"), None).await.unwrap(), 2, "no change");
    for part in &StatePart::ALL[1..] {
        assert_eq!(get(&data, &work, *part).await, Some((1, json(part.name()))));
    }
    assert_eq!(get(&data, &work, StatePart::Editor).await, Some((2, json("[2]"))));
    let sessions = data.repositories.sessions();
    assert_eq!(sessions.get(work.tenant_id, work.user_id, work.id).await.unwrap(), Some(work));
    data.assert_clean().await;
}

async fn expected_versions_of_a_part_are_held(data: Data) {
    let work = workspace(&data).await;
    let part = StatePart::Terminal;
    let mismatch = |put: Result<u64, UpdateError>| match put {
        Err(UpdateError::VersionMismatch { current }) => current,
        other => panic!("{other:?}"),
    };
    assert_eq!(mismatch(put(&data, &work, part, &json("1"), Some(1)).await), 0);
    assert_eq!(put(&data, &work, part, &json("1"), Some(0)).await.unwrap(), 1);
    assert_eq!(mismatch(put(&data, &work, part, &json("2"), Some(0)).await), 1);
    assert_eq!(put(&data, &work, part, &json("2"), Some(1)).await.unwrap(), 2);
    assert_eq!(get(&data, &work, part).await, Some((2, json("2"))));

    // Of many who have seen the same version one wins.
    let tries = (10..20).map(|number| {
        let (data, work) = (data.clone(), work.clone());
        async move { put(&data, &work, part, &json(&number.to_string()), Some(2)).await }
    });
    let results = futures::future::join_all(tries).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.into_iter().filter(Result::is_err).all(|lost| mismatch(lost) == 3));
}

async fn a_part_of_any_size_up_to_the_limit_comes_back(data: Data) {
    let work = workspace(&data).await;
    let part = StatePart::Memory;
    let mut version = 0;
    for size in [1, 89_999, 90_000, 90_001, 300_000, MAX_STATE_BYTES, 10] {
        let mut bytes = vec![0; size];
        data.entropy.fill(&mut bytes);
        let content = Bytes::from(bytes);
        version += 1;
        assert_eq!(put(&data, &work, part, &content, None).await.unwrap(), version);
        assert_eq!(get(&data, &work, part).await, Some((version, content)), "{size} bytes");
    }
    assert_eq!(
        data.dump().await.len(),
        4,
        "workspace, index entry, record and one chunk: nothing is left over"
    );
    let too_large = put(&data, &work, part, &Bytes::from(vec![0; MAX_STATE_BYTES + 1]), None).await;
    assert!(matches!(too_large, Err(UpdateError::Store(StoreError::ValueTooLarge { .. }))), "{too_large:?}");
    data.assert_clean().await;
}

async fn another_user_or_tenant_reaches_no_state(data: Data) {
    let work = workspace(&data).await;
    put(&data, &work, StatePart::Editor, &json("1"), None).await.unwrap();
    for (tenant_id, user_id) in
        [(work.tenant_id, data.id()), (data.id(), work.user_id), (data.id(), data.id())]
    {
        let stranger = Session { tenant_id, user_id, ..work.clone() };
        let refused = put(&data, &stranger, StatePart::Editor, &json("2"), None).await;
        assert!(matches!(refused, Err(UpdateError::NotFound)), "{refused:?}");
        let states = data.repositories.session_states();
        let refused = states.get(tenant_id, user_id, work.id, StatePart::Editor).await;
        assert!(matches!(refused, Err(UpdateError::NotFound)), "{refused:?}");
    }
    assert_eq!(get(&data, &work, StatePart::Editor).await, Some((1, json("1"))));
}

async fn readers_never_see_two_writes_mixed(data: Data) {
    let work = workspace(&data).await;
    // Each write is of one byte only, over several chunks, and each is shorter or longer than the last.
    let content = |byte: u8| Bytes::from(vec![byte; 95_000 * (1 + usize::from(byte) % 3)]);
    put(&data, &work, StatePart::Editor, &content(0), None).await.unwrap();
    let writing = async {
        for byte in 1..30 {
            put(&data, &work, StatePart::Editor, &content(byte), None).await.unwrap();
        }
    };
    let reading = async {
        let mut last = 0;
        while last < 29 {
            let (version, read) = get(&data, &work, StatePart::Editor).await.unwrap();
            let byte = read[0];
            assert_eq!(read, content(byte));
            assert_eq!(version, u64::from(byte) + 1);
            assert!(byte >= last);
            last = byte;
            // A read may be done without ever waiting; the writer has its turn all the same.
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(writing, reading);
}

async fn state_goes_with_its_workspace_and_none_comes_after(data: Data) {
    let (work, other) = (workspace(&data).await, workspace(&data).await);
    put(&data, &other, StatePart::Editor, &json("1"), None).await.unwrap();
    let before = data.dump().await;
    let work = Session { tenant_id: other.tenant_id, id: data.id(), ..work };
    data.repositories.sessions().create(&work).await.unwrap();
    // Writers go on while the workspace is removed. Whoever is too late is told so, and leaves nothing.
    let writers = (0..8).map(|number| {
        let (data, work) = (data.clone(), work.clone());
        async move {
            let part = StatePart::ALL[number % 4];
            for round in 0.. {
                match put(&data, &work, part, &json(&format!("{number} {round}")), None).await {
                    Ok(_) => {}
                    Err(UpdateError::NotFound) => return round,
                    Err(error) => panic!("{error}"),
                }
            }
            0
        }
    });
    let removing = async {
        let written = async || get(&data, &work, StatePart::Memory).await.is_some();
        while !written().await {
            tokio::task::yield_now().await;
        }
        assert!(data.repositories.sessions().delete(work.tenant_id, work.user_id, work.id).await.unwrap());
    };
    let (rounds, ()) = tokio::join!(futures::future::join_all(writers), removing);
    assert!(rounds.iter().sum::<usize>() > 0);
    assert_eq!(data.dump().await, before);
    data.assert_clean().await;
}

async fn damaged_state_is_named(data: Data) {
    let work = workspace(&data).await;
    put(&data, &work, StatePart::Editor, &Bytes::from(vec![7; 100_000]), None).await.unwrap();
    data.assert_clean().await;
    let place = format!("/test/tenant/{}/session_state_contents/{}/editor", work.tenant_id, work.id);
    let dump = data.dump().await;
    let (first, second) = (format!("{place}/0"), format!("{place}/1"));
    for (path, damage, expected) in [
        (&first, None, "its length is another one"),
        (&second, Some(b"short".as_slice()), "its length is another one"),
        (&second, Some([9; 10_000].as_slice()), "its SHA-256 is another one"),
    ] {
        data.plant(path, damage).await;
        let found = data.verify().await.problems;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].disagreement, Disagreement::Content { reason: expected });
        let states = data.repositories.session_states();
        let read = states.get(work.tenant_id, work.user_id, work.id, StatePart::Editor).await;
        assert!(matches!(read, Err(UpdateError::Store(StoreError::Record { .. }))), "{read:?}");
        data.plant(path, Some(&dump[path])).await;
    }
    // A chunk beyond the end, and one of no part at all.
    for stray in [format!("{place}/2"), place.replace("editor", "memory") + "/0"] {
        data.plant(&stray, Some(b"x")).await;
        let found = data.verify().await.problems;
        let orphans = found.iter().filter(|one| matches!(one.disagreement, Disagreement::Orphan { .. }));
        assert_eq!(orphans.count(), 1, "{found:#?}");
        data.plant(&stray, None).await;
    }
    let access = format!("/test/tenant/{}/session_accesses/{}", work.tenant_id, data.id());
    data.plant(&access, Some(&8_i64.to_le_bytes())).await;
    let found = data.verify().await.problems;
    assert!(
        matches!(&found[..], [one] if matches!(one.disagreement, Disagreement::Orphan { .. })),
        "{found:#?}"
    );
    data.plant(&access, None).await;
    data.assert_clean().await;
}

/// A backend whose commits wait for each other, and which counts those that were refused for a conflict: so all have
/// read before any has written.
struct Meeting {
    inner: Embedded,
    meeting: Arc<MeetingPlace>,
}

struct MeetingPlace {
    barrier: Barrier,
    /// How many commits still wait for the others.
    waiting: AtomicUsize,
    conflicts: AtomicUsize,
}

struct MeetingTransaction {
    inner: Box<dyn BackendTransaction>,
    meeting: Arc<MeetingPlace>,
    writes: AtomicUsize,
}

#[async_trait]
impl Backend for Meeting {
    fn name(&self) -> &'static str {
        "meeting"
    }

    fn begin(&self) -> Box<dyn BackendTransaction> {
        let (inner, meeting) = (self.inner.begin(), Arc::clone(&self.meeting));
        Box::new(MeetingTransaction { inner, meeting, writes: AtomicUsize::new(0) })
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

#[async_trait]
impl BackendTransaction for MeetingTransaction {
    async fn read_version(&self) -> Result<Version, StoreError> {
        self.inner.read_version().await
    }

    async fn get(&self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(key, mode).await
    }

    async fn range(&self, read: RangeRead) -> Result<RangePage, StoreError> {
        self.inner.range(read).await
    }

    fn mutate(&self, mutation: Mutation) -> Result<(), StoreError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.inner.mutate(mutation)
    }

    fn add_read_conflict(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        self.inner.add_read_conflict(begin, end)
    }

    async fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        self.inner.watch(key).await
    }

    async fn commit(&self) -> Result<Option<Committed>, StoreError> {
        let waits = |left: usize| left.checked_sub(1);
        if self.writes.load(Ordering::SeqCst) > 0
            && self.meeting.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, waits).is_ok()
        {
            self.meeting.barrier.wait().await;
        }
        let committed = self.inner.commit().await;
        if matches!(committed, Err(StoreError::Conflict)) {
            self.meeting.conflicts.fetch_add(1, Ordering::SeqCst);
        }
        committed
    }
}

/// A store whose first `count` writing commits meet, with a workspace that was made before.
async fn meeting_of(count: usize) -> (Repositories, Session, Arc<MeetingPlace>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions::new(dir.path().join("s.redb"));
    let inner = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
    let meeting = Arc::new(MeetingPlace {
        barrier: Barrier::new(count),
        waiting: AtomicUsize::new(0),
        conflicts: AtomicUsize::new(0),
    });
    let entropy = Arc::new(SeededEntropy::new(5));
    let backend = Meeting { inner, meeting: Arc::clone(&meeting) };
    let repositories = repositories(Store::new(Arc::new(backend), entropy.clone()), &entropy);
    let work = session(&*entropy, Uuid::from_u128(1), Uuid::from_u128(2), 1);
    repositories.sessions().create(&work).await.unwrap();
    meeting.waiting.store(count, Ordering::SeqCst);
    (repositories, work, meeting, dir)
}

/// Writes a part, with a marker that makes it new.
async fn write(repositories: &Repositories, work: &Session, part: StatePart, text: &str) {
    let states = repositories.session_states();
    let content = json(text);
    states.put(work.tenant_id, work.user_id, work.id, part, &content, None, NOW_MS).await.unwrap();
}

#[tokio::test]
async fn parts_the_record_and_accesses_are_written_at_once_without_a_conflict() {
    let (repositories, work, meeting, _dir) = meeting_of(6).await;
    let (tenant, user, id) = (work.tenant_id, work.user_id, work.id);
    let sessions = repositories.sessions();
    tokio::join!(
        write(&repositories, &work, StatePart::Editor, "1"),
        write(&repositories, &work, StatePart::ActiveFiles, "2"),
        write(&repositories, &work, StatePart::Terminal, "3"),
        write(&repositories, &work, StatePart::Memory, "4"),
        async { sessions.update(tenant, user, id, None, |s| s.name = "new".into()).await.unwrap() },
        async { assert!(sessions.touch(tenant, user, id, NOW_MS).await.unwrap()) },
    );
    assert_eq!(meeting.waiting.load(Ordering::SeqCst), 0, "they met");
    assert_eq!(meeting.conflicts.load(Ordering::SeqCst), 0);
    let now = sessions.get(tenant, user, id).await.unwrap().unwrap();
    assert_eq!((now.name.as_str(), now.version, now.last_accessed_at), ("new", 2, NOW_MS));
}

/// The counterpart of the test above: what it counts can be more than none.
#[tokio::test]
async fn two_writes_of_one_part_conflict() {
    let (repositories, work, meeting, _dir) = meeting_of(2).await;
    tokio::join!(
        write(&repositories, &work, StatePart::Editor, "1"),
        write(&repositories, &work, StatePart::Editor, "2"),
    );
    assert!(meeting.conflicts.load(Ordering::SeqCst) > 0);
}
