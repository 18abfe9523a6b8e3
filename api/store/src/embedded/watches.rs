//! Watches of the embedded backend: who waits for which key, and what it had been.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Snapshot;
use super::ranges::{KeyRange, RangeSet};
use crate::contract::Watch;
use crate::error::StoreError;
use crate::limits::MAX_WATCHES;

/// A watch, as the transaction keeps it until its commit and the registry after.
pub(super) struct Pending {
    id: u64,
    key: Vec<u8>,
    /// The value the transaction saw.
    seen: Option<Bytes>,
    sender: oneshot::Sender<Result<(), StoreError>>,
}

/// Makes a watch and the part of it that the transaction keeps until its commit.
pub(super) fn pair(
    registry: &Arc<Watches>,
    key: &[u8],
    seen: Option<Bytes>,
) -> Result<(Watch, Pending), StoreError> {
    let slot = Watches::take_slot(registry, key)?;
    let id = slot.id;
    let (sender, receiver) = oneshot::channel();
    let watch = Watch::new(async move {
        let answer = receiver.await;
        drop(slot);
        answer.unwrap_or(Err(StoreError::Cancelled))
    });
    Ok((watch, Pending { id, key: key.to_vec(), seen, sender }))
}

/// All watches in force.
#[derive(Default)]
pub(super) struct Watches {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: BTreeMap<Vec<u8>, Vec<Pending>>,
    /// Watches that exist, in force or not.
    open: usize,
    next_id: u64,
}

/// A watch's share of [`MAX_WATCHES`]; given back, and the watch forgotten, when its future is dropped.
struct Slot {
    registry: Arc<Watches>,
    id: u64,
    key: Vec<u8>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.registry.state();
        state.open -= 1;
        if let Some(watches) = state.keys.get_mut(&self.key) {
            watches.retain(|watch| watch.id != self.id);
            if watches.is_empty() {
                state.keys.remove(&self.key);
            }
        }
    }
}

impl Watches {
    fn take_slot(registry: &Arc<Self>, key: &[u8]) -> Result<Slot, StoreError> {
        let mut state = registry.state();
        if state.open >= MAX_WATCHES {
            return Err(StoreError::TooManyWatches);
        }
        state.open += 1;
        state.next_id += 1;
        Ok(Slot { registry: Arc::clone(registry), id: state.next_id, key: key.to_vec() })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a committed transaction's watches in force. `newest` is asked for once they are: what was published
    /// before is compared here, and [`Watches::notify`] sees to what is published after.
    pub(super) fn arm(
        &self,
        watches: Vec<Pending>,
        newest: impl FnOnce() -> Result<Arc<Snapshot>, StoreError>,
    ) {
        if watches.is_empty() {
            return;
        }
        let mut touched = RangeSet::default();
        {
            let mut state = self.state();
            for watch in watches {
                touched.insert(KeyRange::point(&watch.key));
                // One whose future was dropped meanwhile has given its slot back: nobody would remove it.
                if !watch.sender.is_closed() {
                    state.keys.entry(watch.key.clone()).or_default().push(watch);
                }
            }
        }
        match newest() {
            Ok(snapshot) => self.notify(&touched, &snapshot),
            Err(error) => self.end(&error),
        }
    }

    /// Resolves the watches of keys in `touched` whose value is another one in `snapshot`.
    pub(super) fn notify(&self, touched: &RangeSet, snapshot: &Snapshot) {
        let mut state = self.state();
        if state.keys.is_empty() {
            return;
        }
        for (begin, end) in touched.iter() {
            let bounds = (Bound::Included(begin), Bound::Excluded(end));
            let mut emptied = Vec::new();
            for (key, watches) in state.keys.range_mut::<[u8], _>(bounds) {
                let now = snapshot.get(key);
                let changed = |watch: &Pending| now.as_ref().map_or(true, |now| *now != watch.seen);
                for watch in watches.extract_if(.., |watch| changed(watch)) {
                    // A watch that was dropped is nobody's loss.
                    drop(watch.sender.send(Ok(())));
                }
                if watches.is_empty() {
                    emptied.push(key.clone());
                }
            }
            for key in emptied {
                state.keys.remove(&key);
            }
        }
    }

    /// Ends every watch with an error.
    pub(super) fn end(&self, error: &StoreError) {
        let keys = std::mem::take(&mut self.state().keys);
        for watch in keys.into_values().flatten() {
            drop(watch.sender.send(Err(error.clone())));
        }
    }
}
