//! Lends the embedder's exchange to host functions for the length of one call into a guest.
#![allow(unsafe_code)]
// A wasmtime store's data must be `'static`, so a borrowed exchange cannot be put there, and moving the embedder's
// request in and out of every call would cost more than the call. The pointer below exists only inside `lend`.

use std::ptr::NonNull;

use wasmtime::Store;

use crate::exchange::Exchange;
use crate::state::HostState;

/// The place in [`HostState`] where the exchange is found while a callback runs; empty at all other times.
#[derive(Default)]
pub(crate) struct ExchangeSlot(Option<NonNull<dyn Exchange>>);

// SAFETY: the pointer is set only between entry to and exit from `lend`, which runs on one thread from start to end
// with the store borrowed exclusively. A store that moves between threads moves with an empty slot.
unsafe impl Send for ExchangeSlot {}
// SAFETY: a shared slot gives nothing away: the only access to the pointer takes `&mut self`.
unsafe impl Sync for ExchangeSlot {}

impl ExchangeSlot {
    /// The exchange lent to this callback, if any.
    pub(crate) fn get(&mut self) -> Option<&mut dyn Exchange> {
        // SAFETY: while the pointer is set, `lend` is on this thread's stack and holds the exclusive borrow it was
        // made from; `&mut self` keeps two of these references from living at once.
        self.0.map(|mut exchange| unsafe { exchange.as_mut() as &mut dyn Exchange })
    }
}

/// Runs `call` with `exchange` in the store's slot. The slot is empty again when this returns or unwinds.
pub(crate) fn lend<R>(
    store: &mut Store<HostState>,
    exchange: &mut dyn Exchange,
    call: impl FnOnce(&mut Store<HostState>) -> R,
) -> R {
    struct Clear<'a>(&'a mut Store<HostState>);
    impl Drop for Clear<'_> {
        fn drop(&mut self) {
            self.0.data_mut().exchange.0 = None;
        }
    }

    let pointer: NonNull<dyn Exchange + '_> = NonNull::from(exchange);
    // SAFETY: only the lifetime changes. `Clear` removes the pointer before the borrow of `exchange` ends, on return
    // and on unwinding alike, and nothing copies it out of the slot.
    let pointer: NonNull<dyn Exchange> = unsafe { std::mem::transmute(pointer) };
    store.data_mut().exchange.0 = Some(pointer);
    let guard = Clear(store);
    call(guard.0)
}
