//! Watching a guest: every call in either direction, for authors' tools.

/// Sees every call of a plugin's guests, on the thread that runs them.
pub trait Tracer: Send + Sync {
    /// Takes one event.
    fn event(&self, event: &TraceEvent<'_>);
}

/// A call that crossed the border.
#[derive(Debug, Clone, Copy)]
pub enum TraceEvent<'a> {
    /// The host calls a guest function.
    Enter {
        /// Its name.
        function: &'static str,
        /// The context it is for; 0 for start-up code.
        context: u32,
    },
    /// The guest function is over.
    Leave {
        /// Its name.
        function: &'static str,
        /// Whether it returned; else it was cut off.
        returned: bool,
    },
    /// The guest called a host function, and it has answered.
    HostCall {
        /// Its name.
        name: &'static str,
        /// The arguments as they came.
        arguments: &'a [u64],
        /// The status it answered; `None` where it ended the guest.
        status: Option<u32>,
        /// The guest's memory now, in which the arguments point.
        memory: &'a [u8],
    },
}
