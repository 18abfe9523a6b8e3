//! What happens to an instance from outside its streams' callbacks: ticks, answers to calls out, queue notifications.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use crate::calls::{CallFailure, HttpCallResponse, Pairs};
use crate::pool::Cell;
use crate::schedule::Schedule;

/// Queue notifications of one instance that wait. One that is notified more often than it runs loses notifications, not
/// messages, and nobody else loses anything. What else is posted is bounded by the calls in flight.
const MAX_NOTIFICATIONS: usize = 1024;
/// Events that wait for an instance to be started. A guest that opened gRPC streams while it starts loses what is beyond.
const MAX_WHILE_STARTING: usize = 256;

/// Something an instance is to be told.
#[derive(Debug)]
pub(crate) enum Event {
    /// A tick of the period that was set as the `generation`-th.
    Tick {
        generation: u64,
    },
    QueueReady {
        token: u32,
    },
    HttpResponse {
        token: u32,
        response: Result<HttpCallResponse, CallFailure>,
    },
    GrpcInitialMetadata {
        token: u32,
        metadata: Pairs,
    },
    GrpcMessage {
        token: u32,
        message: Bytes,
    },
    GrpcTrailingMetadata {
        token: u32,
        metadata: Pairs,
    },
    GrpcClose {
        token: u32,
        status: i32,
        message: String,
    },
}

/// An instance's address, which outlives it.
pub(crate) struct Mailbox {
    slot: Mutex<Slot>,
    schedule: Arc<Schedule>,
    notifications: AtomicUsize,
    /// The call that the embedder is being asked to begin, and whether it dropped the call's reply meanwhile.
    beginning: Mutex<Option<(u32, bool)>>,
}

enum Slot {
    /// The instance is being started. What comes is kept.
    Starting(Vec<Event>),
    Open(Weak<Cell>),
    Closed,
}

impl Mailbox {
    pub(crate) fn new(schedule: Arc<Schedule>) -> Arc<Self> {
        Arc::new(Self {
            slot: Mutex::new(Slot::Starting(Vec::new())),
            schedule,
            notifications: AtomicUsize::new(0),
            beginning: Mutex::new(None),
        })
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn schedule(&self) -> &Arc<Schedule> {
        &self.schedule
    }

    /// The instance was started, and lives in this cell.
    pub(crate) fn open(self: &Arc<Self>, cell: &Arc<Cell>) {
        let before = std::mem::replace(&mut *self.slot(), Slot::Open(Arc::downgrade(cell)));
        if let Slot::Starting(events) = before {
            for event in events {
                self.post(event);
            }
        }
    }

    /// The instance is gone.
    pub(crate) fn close(&self) {
        *self.slot() = Slot::Closed;
    }

    pub(crate) fn is_open(&self) -> bool {
        !matches!(*self.slot(), Slot::Closed)
    }

    /// Runs the event's callback on this thread, or leaves it to that for slow plugins. Never from within a callback of the same instance.
    pub(crate) fn deliver(&self, event: Event) {
        let cell = match &mut *self.slot() {
            Slot::Starting(events) => {
                if events.len() < MAX_WHILE_STARTING {
                    events.push(event);
                }
                return;
            }
            Slot::Open(cell) => cell.upgrade(),
            Slot::Closed => None,
        };
        if let Some(cell) = cell {
            cell.tell(event);
        }
    }

    /// Leaves the event to whoever drives the engine. From anywhere.
    pub(crate) fn post(self: &Arc<Self>, event: Event) {
        if matches!(event, Event::QueueReady { .. })
            && self.notifications.fetch_add(1, Ordering::AcqRel) >= MAX_NOTIFICATIONS
        {
            self.notifications.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        self.schedule.post(self, event);
    }

    /// A posted event is about to be delivered.
    pub(crate) fn take_notification(&self, event: &Event) {
        if matches!(event, Event::QueueReady { .. }) {
            self.notifications.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Runs `begin`, which asks the embedder to begin the call `token`; says whether the reply was dropped meanwhile.
    /// A call that is refused has no end to be told of: else a guest whose calls are refused could flood the driver.
    pub(crate) fn beginning<R>(&self, token: u32, begin: impl FnOnce() -> R) -> (R, bool) {
        *self.call_begun() = Some((token, false));
        let result = begin();
        let dropped = self.call_begun().take().is_some_and(|(_, dropped)| dropped);
        (result, dropped)
    }

    /// The reply of the call `token` was dropped; `event` is the call's failure.
    pub(crate) fn unanswered(self: &Arc<Self>, token: u32, event: Event) {
        if let Some((beginning, dropped)) = &mut *self.call_begun()
            && *beginning == token
        {
            *dropped = true;
            return;
        }
        self.post(event);
    }

    fn call_begun(&self) -> MutexGuard<'_, Option<(u32, bool)>> {
        self.beginning.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
