//! Every key the program uses. Keys are tuple-encoded (byte-identical to FoundationDB's tuple layer) under one
//! root prefix, because an existing cluster holds other data.
//!
//! Global families lie under `(root, "global", …)`, a tenant's under `(root, "tenant", tenant id, …)`, reached
//! through a [`TenantScope`] only. [`families`] lists them all.

pub(crate) mod element;
pub(crate) mod families;
pub(crate) mod locate;
pub mod path;
mod span;

use foundationdb_tuple::{PackError, Subspace, TuplePack, TupleUnpack};
use uuid::Uuid;

pub(crate) use self::families::{GlobalFamily, TenantFamily};
pub(crate) use self::span::Branch;
pub use self::span::KeySpan;
use crate::error::StoreError;

/// How long a marker is kept, in minutes; far longer than any retry loop runs.
const MARKER_MINUTES: i64 = 15;
/// The length of a UUID in a tuple: a type byte and its 16 bytes.
const PACKED_UUID_BYTES: usize = 17;
/// Milliseconds in a minute.
const MINUTE: i64 = 60_000;

/// An encoded key. Only this module makes them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Key> for Vec<u8> {
    fn from(key: Key) -> Self {
        key.0
    }
}

/// The unique key of one intended transaction; see [`crate::Keyspace::marker`].
#[derive(Debug, Clone)]
pub struct Marker {
    pub(crate) key: Key,
    /// Markers so old that nobody looks for them any more; each run removes them.
    pub(crate) expired: KeySpan,
}

/// The program's part of the key space.
#[derive(Debug, Clone)]
pub struct Keyspace {
    root: Subspace,
    global: Subspace,
    tenants: Subspace,
}

impl Keyspace {
    /// The key space under a root prefix, for example `coditect`.
    pub fn new(root: &str) -> Self {
        let root = Subspace::from((root,));
        Self { global: root.subspace(&("global",)), tenants: root.subspace(&("tenant",)), root }
    }

    /// Everything below the root.
    pub fn span(&self) -> KeySpan {
        let (begin, end) = self.root.range();
        KeySpan { begin, end }
    }

    /// What every key of the program begins with.
    pub fn root(&self) -> &[u8] {
        self.root.bytes()
    }

    /// Every key of a global family, also where the family is a single key.
    pub(crate) fn global_family(&self, family: GlobalFamily) -> KeySpan {
        let begin = self.global.pack(&(family.name(),));
        // No element of a key begins with 0xff.
        let end = [begin.as_slice(), &[0xff]].concat();
        KeySpan { begin, end }
    }

    /// The keys of one tenant.
    pub fn tenant(&self, id: Uuid) -> TenantScope {
        TenantScope { id, space: self.tenants.subspace(&(id,)) }
    }

    /// All keys of the tenants after one, or of all. A tenant's keys lie together.
    pub(crate) fn tenants_after(&self, tenant: Option<Uuid>) -> KeySpan {
        let (begin, end) = self.tenants.range();
        KeySpan { begin: tenant.map_or(begin, |id| self.tenants.subspace(&(id,)).range().1), end }
    }

    /// The tenant a key belongs to.
    pub(crate) fn tenant_of(&self, key: &[u8]) -> Option<TenantScope> {
        let id = key.strip_prefix(self.tenants.bytes())?.get(..PACKED_UUID_BYTES)?;
        let (id,): (Uuid,) = foundationdb_tuple::unpack(id).ok()?;
        Some(self.tenant(id))
    }

    /// A marker for [`crate::Store::run_once`]; `id` must be fresh, `now` is in Unix milliseconds.
    pub fn marker(&self, now: i64, id: Uuid) -> Marker {
        let minute = now.div_euclid(MINUTE);
        let markers = self.global.subspace(&(GlobalFamily::Idempotency.name(),));
        Marker {
            key: Key(markers.pack(&(minute, id))),
            expired: KeySpan { begin: markers.range().0, end: markers.pack(&(minute - MARKER_MINUTES,)) },
        }
    }

    /// A key of a global family.
    pub(crate) fn global<T: TuplePack>(&self, family: GlobalFamily, rest: &T) -> Key {
        Key(self.global.subspace(&(family.name(),)).pack(rest))
    }

    /// The keys of a global family whose first elements are `rest`.
    pub(crate) fn branch<T: TuplePack>(&self, family: GlobalFamily, rest: &T) -> Branch {
        Branch::new(family.name(), self.global.subspace(&(family.name(),)).subspace(rest))
    }

    /// All keys of a global family whose first elements are `rest`, and which have more.
    pub(crate) fn global_span<T: TuplePack>(&self, family: GlobalFamily, rest: &T) -> KeySpan {
        self.branch(family, rest).span()
    }

    /// The elements of a key of a global family, after the family's name.
    pub(crate) fn global_unpack<'k, T: TupleUnpack<'k>>(
        &self,
        family: GlobalFamily,
        key: &'k [u8],
    ) -> Result<T, StoreError> {
        self.branch(family, &()).unpack(key)
    }

    /// Global index: normalised e-mail → (tenant, user).
    pub(crate) fn user_by_email(&self, email: &str) -> Key {
        self.global(GlobalFamily::UsersByEmail, &(email,))
    }

    /// Global index: auth session → tenant.
    pub(crate) fn auth_session_tenant(&self, auth_session: Uuid) -> Key {
        self.global(GlobalFamily::AuthSessionTenant, &(auth_session,))
    }
}

/// One tenant's keys. No key it forms lies outside the tenant's prefix, whatever the ids are: the prefix is
/// fixed at construction, and tuple encoding is prefix-free element by element.
#[derive(Debug, Clone)]
pub struct TenantScope {
    id: Uuid,
    space: Subspace,
}

impl TenantScope {
    /// The tenant.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// All of the tenant's keys.
    pub(crate) fn all(&self) -> KeySpan {
        let (begin, end) = self.space.range();
        KeySpan { begin, end }
    }

    /// Every key of a family, also where the family is a single key.
    pub(crate) fn family_span(&self, family: TenantFamily) -> KeySpan {
        let begin = self.space.pack(&(family.name(),));
        // No element of a key begins with 0xff.
        let end = [begin.as_slice(), &[0xff]].concat();
        KeySpan { begin, end }
    }

    /// A key of a family.
    pub(crate) fn key<T: TuplePack>(&self, family: TenantFamily, rest: &T) -> Key {
        Key(self.space.subspace(&(family.name(),)).pack(rest))
    }

    /// The keys of a family whose first elements are `rest`.
    pub(crate) fn branch<T: TuplePack>(&self, family: TenantFamily, rest: &T) -> Branch {
        Branch::new(family.name(), self.space.subspace(&(family.name(),)).subspace(rest))
    }

    /// All keys of a family whose first elements are `rest`, and which have more.
    pub(crate) fn span<T: TuplePack>(&self, family: TenantFamily, rest: &T) -> KeySpan {
        self.branch(family, rest).span()
    }

    /// The elements of a key of a family, after the family's name.
    pub(crate) fn unpack<'k, T: TupleUnpack<'k>>(
        &self,
        family: TenantFamily,
        key: &'k [u8],
    ) -> Result<T, StoreError> {
        self.branch(family, &()).unpack(key)
    }

    /// The tenant's own record.
    pub(crate) fn tenant(&self) -> Key {
        self.key(TenantFamily::Tenant, &())
    }

    pub(crate) fn user(&self, id: Uuid) -> Key {
        self.key(TenantFamily::Users, &(id,))
    }

    pub(crate) fn auth_session(&self, id: Uuid) -> Key {
        self.key(TenantFamily::AuthSessions, &(id,))
    }

    pub(crate) fn auth_session_by_family(&self, family: Uuid, id: Uuid) -> Key {
        self.key(TenantFamily::AuthSessionsByFamily, &(family, id))
    }

    pub(crate) fn family(&self, id: Uuid) -> Key {
        self.key(TenantFamily::Families, &(id,))
    }

    pub(crate) fn family_by_user(&self, user: Uuid, ends_at: i64, family: Uuid) -> Key {
        self.key(TenantFamily::FamiliesByUser, &(user, ends_at, family))
    }

    pub(crate) fn session(&self, id: Uuid) -> Key {
        self.key(TenantFamily::Sessions, &(id,))
    }

    pub(crate) fn session_by_user(&self, user: Uuid, created_at: i64, id: Uuid) -> Key {
        self.key(TenantFamily::SessionsByUser, &(user, created_at, id))
    }

    pub(crate) fn session_access(&self, id: Uuid) -> Key {
        self.key(TenantFamily::SessionAccesses, &(id,))
    }
}

fn malformed(family: &'static str, error: &PackError) -> StoreError {
    StoreError::Record { family, reason: format!("its key is malformed: {error:?}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use coditect_auth::{Entropy, SeededEntropy};

    /// An awkward string: NULs, slashes, dots, 0xff, other tenants' prefixes.
    fn awkward(entropy: &SeededEntropy, other: &TenantScope) -> (String, Vec<u8>) {
        let mut bytes = [0; 24];
        entropy.fill(&mut bytes);
        let alphabet = ['\0', '/', '.', '\u{ff}', '\u{1}', 'a', '\\', '%'];
        let text =
            bytes.iter().take(usize::from(bytes[0] % 24)).map(|b| alphabet[usize::from(b % 8)]).collect();
        let mut raw = other.space.bytes().to_vec();
        raw.extend_from_slice(&bytes);
        (text, raw)
    }

    #[test]
    fn no_id_takes_a_scope_out_of_its_tenant() {
        let seed = 0x7e4a_9710;
        println_seed(seed);
        let entropy = SeededEntropy::new(seed);
        let keys = Keyspace::new("coditect");
        for round in 0..5_000 {
            let mine = keys.tenant(entropy.uuid());
            let other = keys.tenant(entropy.uuid());
            let (text, raw) = awkward(&entropy, &other);
            let family = TenantFamily::ALL[round % TenantFamily::ALL.len()];
            for key in [
                mine.key(family, &(text.as_str(),)),
                mine.key(family, &(raw.as_slice(), text.as_str())),
                mine.key(family, &(text.as_str(), entropy.uuid(), i64::MIN)),
            ] {
                assert!(key.as_ref().starts_with(mine.space.bytes()), "seed {seed}");
                assert!(!key.as_ref().starts_with(other.space.bytes()), "seed {seed}");
            }
            let branch = mine.branch(family, &(raw.as_slice(),));
            let foreign = other.key(family, &(text.as_str(),));
            for span in [
                mine.span(family, &(text.as_str(),)),
                branch.span_of_text(&text),
                branch.span().beyond(&branch.key(&(text.as_str(),)), round % 2 == 0),
                branch.span().beyond(&foreign, round % 2 == 0),
            ] {
                let (first, last) = mine.space.range();
                assert!(span.begin >= first && span.end <= last && span.begin <= span.end, "seed {seed}");
            }
            let key = mine.key(family, &(text.as_str(), raw.as_slice()));
            let (t, r): (String, Vec<u8>) = mine.unpack(family, key.as_ref()).unwrap();
            assert_eq!((t, r), (text, raw), "an id comes back as it was, seed {seed}");
            assert!(other.unpack::<(String, Vec<u8>)>(family, key.as_ref()).is_err());
        }
    }

    #[allow(clippy::print_stdout)]
    fn println_seed(seed: u64) {
        println!("seed {seed}");
    }

    #[test]
    fn tenants_are_found_from_their_keys_one_after_the_other() {
        let keys = Keyspace::new("r");
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let first = keys.tenant(one).user(Uuid::max());
        let second = keys.tenant(two).tenant();
        assert_eq!(keys.tenant_of(first.as_ref()).unwrap().id(), one);
        assert_eq!(keys.tenant_of(second.as_ref()).unwrap().id(), two);
        assert!(keys.tenant_of(keys.user_by_email("a").as_ref()).is_none());
        let inside =
            |span: &KeySpan, key: &Key| (span.begin.as_slice()..span.end.as_slice()).contains(&key.as_ref());
        let (all, after_one, after_two) =
            (keys.tenants_after(None), keys.tenants_after(Some(one)), keys.tenants_after(Some(two)));
        assert!(inside(&all, &first) && inside(&all, &second));
        assert!(!inside(&after_one, &first) && inside(&after_one, &second));
        assert!(!inside(&after_two, &second));
    }

    #[test]
    fn families_do_not_overlap() {
        let scope = Keyspace::new("r").tenant(Uuid::from_u128(1));
        for (i, a) in TenantFamily::ALL.iter().enumerate() {
            let span = scope.span(*a, &());
            for b in TenantFamily::ALL.iter().skip(i + 1) {
                let key = scope.key(*b, &(Uuid::nil(),));
                let inside = key.as_ref() >= span.begin.as_slice() && key.as_ref() < span.end.as_slice();
                assert!(!inside, "{} lies in {}", b.name(), a.name());
            }
        }
    }

    #[test]
    fn expired_markers_end_before_the_marker_itself() {
        let marker = Keyspace::new("r").marker(1_000_000_000, Uuid::nil());
        assert!(marker.expired.begin < marker.expired.end);
        assert!(marker.expired.end.as_slice() < marker.key.as_ref());
    }
}
