//! Shared data: a small key-value store that all instances of one `vm_id` and tenant see.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::abi::Status;
use crate::limits::SHARED_DATA_ENTRY_BYTES;

/// One scope's values. Kept as long as an instance of that scope lives.
pub(crate) struct SharedData {
    limit: usize,
    values: Mutex<Values>,
}

#[derive(Default)]
struct Values {
    entries: HashMap<Vec<u8>, (Vec<u8>, u32)>,
    bytes: usize,
    version: u32,
}

impl Values {
    /// Versions start at 1, grow by 1 with each set in this scope, and are never 0: 0 means "whatever is there".
    fn next_version(&mut self) -> u32 {
        self.version = self.version.checked_add(1).unwrap_or(1);
        self.version
    }
}

impl SharedData {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, values: Mutex::default() }
    }

    /// Appends the value to `out` and returns its version.
    pub(crate) fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Option<u32> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, version) = values.entries.get(key)?;
        out.extend_from_slice(value);
        Some(*version)
    }

    /// Sets a value. `expected` 0 always sets; another one must be the version there is. A key that does not exist
    /// is set whatever was expected, as in the reference host.
    pub(crate) fn set(&self, key: &[u8], value: &[u8], expected: u32) -> Result<(), Status> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let old = match values.entries.get(key) {
            Some((_, version)) if expected != 0 && *version != expected => return Err(Status::CasMismatch),
            Some((old, _)) => cost(key, old),
            None => 0,
        };
        let bytes = values.bytes - old + cost(key, value);
        if bytes > self.limit {
            return Err(Status::InternalFailure);
        }
        let version = values.next_version();
        values.bytes = bytes;
        values.entries.insert(key.to_vec(), (value.to_vec(), version));
        Ok(())
    }
}

fn cost(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + SHARED_DATA_ENTRY_BYTES
}

/// A `vm_id` and a tenant.
type ScopeKey = (String, Arc<str>);

/// Finds the shared data of a scope, for all plugins of an engine.
pub(crate) struct SharedDataRegistry {
    limit: usize,
    scopes: Mutex<HashMap<ScopeKey, Weak<SharedData>>>,
}

impl SharedDataRegistry {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, scopes: Mutex::default() }
    }

    /// The data of this `vm_id` and tenant, new where no instance holds it.
    pub(crate) fn scope(&self, vm_id: &str, tenant: &Arc<str>) -> Arc<SharedData> {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (vm_id.to_owned(), Arc::clone(tenant));
        if let Some(data) = scopes.get(&key).and_then(Weak::upgrade) {
            return data;
        }
        // A new scope is rare; sweeping the dead ones here keeps the map as small as what is alive.
        scopes.retain(|_, data| data.strong_count() > 0);
        let data = Arc::new(self.private());
        scopes.insert(key, Arc::downgrade(&data));
        data
    }

    /// Data that nobody else finds, for a canary.
    pub(crate) fn private(&self) -> SharedData {
        SharedData::new(self.limit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn value(data: &SharedData, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        let mut out = Vec::new();
        data.get(key, &mut out).map(|version| (out, version))
    }

    #[test]
    fn versions_start_at_one_and_grow_with_each_set() {
        let data = SharedData::new(1024);
        assert_eq!(value(&data, b"k"), None);
        assert_eq!(data.set(b"k", b"a", 0), Ok(()));
        assert_eq!(value(&data, b"k"), Some((b"a".to_vec(), 1)));
        assert_eq!(data.set(b"k", b"b", 1), Ok(()));
        assert_eq!(data.set(b"k", b"c", 1), Err(Status::CasMismatch));
        assert_eq!(value(&data, b"k"), Some((b"b".to_vec(), 2)));
        assert_eq!(data.set(b"k", b"c", 0), Ok(()));
        assert_eq!(data.set(b"new", b"", 77), Ok(()), "nothing to compare with");
        assert_eq!(value(&data, b"new"), Some((Vec::new(), 4)));
    }

    #[test]
    fn the_byte_limit_counts_keys_values_and_entries() {
        let data = SharedData::new(2 * (SHARED_DATA_ENTRY_BYTES + 2));
        assert_eq!(data.set(b"a", b"1", 0), Ok(()));
        assert_eq!(data.set(b"b", b"1", 0), Ok(()));
        assert_eq!(data.set(b"c", b"", 0), Err(Status::InternalFailure));
        assert_eq!(data.set(b"a", b"22", 0), Err(Status::InternalFailure));
        assert_eq!(value(&data, b"a"), Some((b"1".to_vec(), 1)), "a refused set changes nothing");
        assert_eq!(data.set(b"a", b"2", 0), Ok(()));
    }

    #[test]
    fn a_scope_is_a_vm_id_and_a_tenant_and_ends_with_its_last_holder() {
        let registry = SharedDataRegistry::new(1024);
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let first = registry.scope("vm", &one);
        first.set(b"k", b"v", 0).unwrap();
        assert!(Arc::ptr_eq(&first, &registry.scope("vm", &one)));
        assert_eq!(value(&registry.scope("vm", &two), b"k"), None);
        assert_eq!(value(&registry.scope("other", &one), b"k"), None);
        drop(first);
        assert_eq!(value(&registry.scope("vm", &one), b"k"), None);
        assert!(registry.scopes.lock().unwrap().len() <= 2, "dead scopes are swept");
    }
}
