//! The verified caller, as the gate hands it to services in the process.

use crate::{Claims, Family};
use std::sync::Arc;

/// A caller whose credentials were verified and whose family was alive when the request came in.
///
/// The gate puts it into the request's extensions; a service that needs a caller and finds none must refuse.
#[derive(Debug, Clone)]
pub struct Identity {
    /// What the credentials say.
    pub claims: Arc<Claims>,
    /// The login behind them; sockets end with it.
    pub family: Arc<Family>,
}
