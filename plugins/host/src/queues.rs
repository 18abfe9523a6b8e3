//! Shared queues: found by name and `vm_id` within a tenant, by token afterwards.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::abi::Status;
use crate::mailbox::{Event, Mailbox};

/// Queues one tenant may have.
const MAX_QUEUES: usize = 256;
/// Longest queue name, in bytes.
pub(crate) const MAX_QUEUE_NAME_BYTES: usize = 256;
/// What all queues of a tenant may hold together, as a multiple of what one may.
const FULL_QUEUES: usize = 16;
/// What a message costs besides its bytes.
const MESSAGE_BYTES: usize = 64;

/// The queues of one tenant and owner, over all of its plugins. Kept as long as an instance of these lives.
#[derive(Default)]
pub(crate) struct Queues(Mutex<Table>);

#[derive(Default)]
struct Table {
    names: HashMap<(String, Vec<u8>), u32>,
    /// By token, which counts from 1.
    queues: Vec<Queue>,
    /// Of all of them.
    bytes: usize,
}

struct Queue {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Who is told of messages: the instance that registered it last.
    reader: Weak<Mailbox>,
}

impl Queues {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token of a queue of this name, made where there is none; `reader` is told of its messages from now on.
    pub(crate) fn register(&self, vm_id: &str, name: &[u8], reader: &Arc<Mailbox>) -> Result<u32, Status> {
        if name.len() > MAX_QUEUE_NAME_BYTES {
            return Err(Status::BadArgument);
        }
        let mut table = self.table();
        let reader = Arc::downgrade(reader);
        let key = (vm_id.to_owned(), name.to_vec());
        if let Some(token) = table.names.get(&key).copied() {
            table.queue(token)?.reader = reader;
            return Ok(token);
        }
        if table.queues.len() >= MAX_QUEUES {
            return Err(Status::InternalFailure);
        }
        table.queues.push(Queue { messages: VecDeque::new(), bytes: 0, reader });
        let token = u32::try_from(table.queues.len()).map_err(|_| Status::InternalFailure)?;
        table.names.insert(key, token);
        Ok(token)
    }

    /// The token of a queue that was registered.
    pub(crate) fn resolve(&self, vm_id: &str, name: &[u8]) -> Result<u32, Status> {
        let key = (vm_id.to_owned(), name.to_vec());
        self.table().names.get(&key).copied().ok_or(Status::NotFound)
    }

    /// Puts a message at the end and tells the reader.
    pub(crate) fn enqueue(
        &self,
        token: u32,
        message: &[u8],
        most: usize,
        most_bytes: usize,
    ) -> Result<(), Status> {
        let mut table = self.table();
        let cost = message.len() + MESSAGE_BYTES;
        let room = table.bytes + cost <= most_bytes.saturating_mul(FULL_QUEUES);
        let queue = table.queue(token)?;
        if queue.messages.len() >= most || queue.bytes + cost > most_bytes || !room {
            return Err(Status::InternalFailure);
        }
        queue.bytes += cost;
        queue.messages.push_back(message.to_vec());
        let reader = queue.reader.upgrade();
        table.bytes += cost;
        drop(table);
        if let Some(reader) = reader {
            reader.post(Event::QueueReady { token });
        }
        Ok(())
    }

    /// Takes the first message.
    pub(crate) fn dequeue(&self, token: u32) -> Result<Vec<u8>, Status> {
        let mut table = self.table();
        let queue = table.queue(token)?;
        let message = queue.messages.pop_front().ok_or(Status::Empty)?;
        let cost = message.len() + MESSAGE_BYTES;
        queue.bytes -= cost;
        table.bytes -= cost;
        Ok(message)
    }
}

impl Table {
    fn queue(&mut self, token: u32) -> Result<&mut Queue, Status> {
        let index = (token as usize).checked_sub(1).ok_or(Status::NotFound)?;
        self.queues.get_mut(index).ok_or(Status::NotFound)
    }
}

/// A tenant and an owner of plugins. Tokens are guessable: those of one owner mean nothing to another's plugins.
type QueuesKey = (Arc<str>, String);

/// Finds a tenant's queues, for all plugins of an engine.
#[derive(Default)]
pub(crate) struct QueueRegistry {
    tenants: Mutex<HashMap<QueuesKey, Weak<Queues>>>,
}

impl QueueRegistry {
    pub(crate) fn of(&self, tenant: &Arc<str>, owner: &str) -> Arc<Queues> {
        let key = (Arc::clone(tenant), owner.to_owned());
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queues) = tenants.get(&key).and_then(Weak::upgrade) {
            return queues;
        }
        // A new tenant is rare; sweeping the dead ones here keeps the map as small as what is alive.
        tenants.retain(|_, queues| queues.strong_count() > 0);
        let queues = Arc::new(Queues::default());
        tenants.insert(key, Arc::downgrade(&queues));
        queues
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::schedule::Schedule;

    #[test]
    fn tokens_count_from_one_and_names_are_of_a_vm_id() {
        let queues = Queues::default();
        let mailbox = Mailbox::new(Arc::new(Schedule::default()));
        assert_eq!(queues.register("vm", b"q", &mailbox), Ok(1));
        assert_eq!(queues.register("vm", b"q", &mailbox), Ok(1), "the same one again");
        assert_eq!(queues.register("other", b"q", &mailbox), Ok(2));
        assert_eq!(queues.resolve("vm", b"q"), Ok(1));
        assert_eq!(queues.resolve("vm", b"none"), Err(Status::NotFound));
        assert_eq!(queues.register("vm", &[b'n'; 257], &mailbox), Err(Status::BadArgument));
    }

    #[test]
    fn messages_come_out_in_order_and_are_bounded() {
        let queues = Queues::default();
        let mailbox = Mailbox::new(Arc::new(Schedule::default()));
        let token = queues.register("vm", b"q", &mailbox).unwrap();
        assert_eq!(queues.dequeue(token), Err(Status::Empty));
        assert_eq!(queues.dequeue(9), Err(Status::NotFound));
        assert_eq!(queues.enqueue(0, b"", 2, 1000), Err(Status::NotFound));
        assert_eq!(queues.enqueue(token, b"a", 2, 1000), Ok(()));
        assert_eq!(queues.enqueue(token, b"b", 2, 1000), Ok(()));
        assert_eq!(queues.enqueue(token, b"c", 2, 1000), Err(Status::InternalFailure), "too many");
        assert_eq!(queues.dequeue(token), Ok(b"a".to_vec()));
        assert_eq!(queues.enqueue(token, &[0; 900], 2, 1000), Err(Status::InternalFailure), "too large");
        assert_eq!(queues.dequeue(token), Ok(b"b".to_vec()));
        assert_eq!(queues.enqueue(token, &[0; 900], 2, 1000), Ok(()), "bytes are given back");
    }

    #[test]
    fn all_queues_together_are_bounded() {
        let queues = Queues::default();
        let mailbox = Mailbox::new(Arc::new(Schedule::default()));
        let mut full = 0;
        for number in 0..40_u8 {
            let token = queues.register("vm", &[number], &mailbox).unwrap();
            full += usize::from(queues.enqueue(token, &[0; 936], 10, 1000).is_ok());
        }
        assert_eq!(full, FULL_QUEUES, "of 1000 bytes each");
        assert_eq!(queues.dequeue(1).map(|message| message.len()), Ok(936));
        assert_eq!(queues.enqueue(40, &[0; 936], 10, 1000), Ok(()), "bytes are given back");
    }

    #[test]
    fn queues_live_as_long_as_somebody_holds_them() {
        let registry = QueueRegistry::default();
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let first = registry.of(&one, "owner");
        assert!(Arc::ptr_eq(&first, &registry.of(&one, "owner")));
        assert!(!Arc::ptr_eq(&first, &registry.of(&two, "owner")));
        assert!(!Arc::ptr_eq(&first, &registry.of(&one, "another")));
        let mailbox = Mailbox::new(Arc::new(Schedule::default()));
        first.register("vm", b"q", &mailbox).unwrap();
        drop(first);
        assert_eq!(registry.of(&one, "owner").resolve("vm", b"q"), Err(Status::NotFound));
    }
}
