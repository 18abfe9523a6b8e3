//! The memory that contents of files take on their way in and out: a budget for all, and one for each tenant, so that
//! neither many transfers nor slow ones can take more. What does not fit is refused at once and may be tried again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use coditect_store::blobs::{MAX_READ_BUFFER_BYTES, MAX_UPLOAD_BUFFER_BYTES};
use uuid::Uuid;

use crate::error::ApiError;

/// What all transfers may hold, in bytes: about 128 large uploads.
const ALL_BYTES: usize = 256 << 20;
/// What the transfers of one tenant may hold, in bytes: about 32 large uploads, or about 1000 files of 64 KiB.
const TENANT_BYTES: usize = 64 << 20;
/// What a transfer takes at least, in bytes.
const LEAST_BYTES: usize = 16 << 10;

/// The transfers under way. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Transfers {
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// Only tenants that hold something.
    tenants: HashMap<Uuid, usize>,
}

/// The part of the budget that one transfer has, until it is dropped.
#[derive(Debug)]
pub(crate) struct Transfer {
    held: Arc<Mutex<Held>>,
    tenant: Uuid,
    bytes: usize,
}

impl Transfers {
    /// Begins an upload of so many bytes, as far as that is known.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] if too many transfers are under way.
    pub(crate) fn upload(&self, tenant: Uuid, size: Option<u64>) -> Result<Transfer, ApiError> {
        self.begin(tenant, size, MAX_UPLOAD_BUFFER_BYTES)
    }

    /// Begins a download of so many bytes, as far as that is known.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] if too many transfers are under way.
    pub(crate) fn download(&self, tenant: Uuid, size: Option<u64>) -> Result<Transfer, ApiError> {
        self.begin(tenant, size, MAX_READ_BUFFER_BYTES)
    }

    /// Begins an upload of so many bytes, as far as that is known, all of which are held, and which are no more than
    /// `most`.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] if too many transfers are under way.
    pub(crate) fn whole(&self, tenant: Uuid, size: Option<u64>, most: usize) -> Result<Transfer, ApiError> {
        self.begin(tenant, size, most)
    }

    fn begin(&self, tenant: Uuid, size: Option<u64>, most: usize) -> Result<Transfer, ApiError> {
        let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(most);
        let bytes = size.clamp(LEAST_BYTES, most);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.tenants.get(&tenant).copied().unwrap_or(0);
        // A tenant holds no more than is still free for others, so there is always some for whoever comes next.
        let share = TENANT_BYTES.min(ALL_BYTES.saturating_sub(held.all));
        if held.all + bytes > ALL_BYTES || own + bytes > share {
            return Err(ApiError::Overloaded);
        }
        held.all += bytes;
        held.tenants.insert(tenant, own + bytes);
        Ok(Transfer { held: Arc::clone(&self.held), tenant, bytes })
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all -= self.bytes;
        let left = held.tenants.get(&self.tenant).map_or(0, |own| own - self.bytes);
        if left == 0 {
            held.tenants.remove(&self.tenant);
        } else {
            held.tenants.insert(self.tenant, left);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_tenant_and_all_of_them_have_a_budget() {
        let transfers = Transfers::default();
        let large = |tenant: u128| transfers.upload(Uuid::from_u128(tenant), None);
        let of_one: Vec<_> = std::iter::from_fn(|| large(1).ok()).collect();
        assert_eq!(of_one.len(), TENANT_BYTES / MAX_UPLOAD_BUFFER_BYTES);
        assert!(large(2).is_ok(), "another tenant has its own");
        let tenants = (2..9).flat_map(|tenant| std::iter::repeat_n(tenant, 40));
        let others: Vec<_> = tenants.filter_map(|tenant| large(tenant).ok()).collect();
        let taken = of_one.len() + others.len();
        assert!(taken > ALL_BYTES / MAX_UPLOAD_BUFFER_BYTES * 9 / 10, "{taken}");
        let newcomer = transfers.upload(Uuid::from_u128(99), Some(1)).unwrap();
        drop((of_one, others, newcomer));
        let held = transfers.held.lock().unwrap();
        assert_eq!((held.all, held.tenants.len()), (0, 0), "all of it is given back");
    }

    #[test]
    fn small_files_take_little() {
        let transfers = Transfers::default();
        let tenant = Uuid::from_u128(1);
        let small: Vec<_> = (0..900).map(|_| transfers.upload(tenant, Some(64 << 10)).unwrap()).collect();
        assert_eq!(small.len(), 900);
        assert!(transfers.upload(tenant, Some(u64::MAX)).is_ok());
    }
}
