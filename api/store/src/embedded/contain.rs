//! redb trusts its pages: on a damaged file it may panic instead of returning an error. Such a panic must end
//! neither the process nor the request that happened to read the page.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// redb panicked, which it does on pages that make no sense.
#[derive(Debug, thiserror::Error)]
#[error("the database file is damaged: {message}")]
pub(super) struct Damage {
    message: String,
}

/// Runs `work`. It reads only, or writes to a database that is given up after a panic: what a panic leaves half
/// changed is used by nobody.
pub(super) fn contained<T>(work: impl FnOnce() -> T) -> Result<T, Damage> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Damage { message: text.unwrap_or("redb panicked").to_owned() }
    })
}
