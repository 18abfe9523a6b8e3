//! Who a request is: tokens, the login ("token family") behind them, and passwords.
//!
//! Nothing here knows HTTP, the store or a proxy. The clock and the source of randomness are passed in, so every
//! rule can be tested at any moment in time.
//!
//! One login starts one **token family**. Each login or refresh inside it is one [`AuthSession`]; access tokens are
//! minted only from a stored one ([`TokenIssuer::access`]). A family ends by logout, by reuse of a rotated refresh
//! token, or at its own end; everything opened with it (sockets, the workspace cookie) ends with it
//! ([`Family::ended`]).

mod claims;
mod clock;
mod entropy;
mod error;
mod family;
mod identity;
mod key_set;
mod keys;
mod password;
mod password_rules;
mod session;
mod tickets;
mod token_keys;
mod tokens;
mod workspace;

pub use claims::Claims;
pub use clock::{Clock, ManualClock, SystemClock};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use error::AuthError;
pub use family::{
    Families, Family, FamilyEnd, FamilyRecord, FamilySource, Recheck, RecheckError, SourceError,
};
pub use identity::Identity;
pub use key_set::{
    KeyAlgorithm, KeyFileError, KeyPair, KeyRotation, KeySet, KeySetError, KeySetFile, KeyState, Stamp,
    UnknownAlgorithm,
};
pub use keys::{KeyError, SigningSecret};
pub use password::{PasswordError, PasswordHasher, PasswordSettings};
pub use password_rules::{PASSWORD_CHARS, PasswordProblem, judge_password};
pub use session::{AuthSession, RefreshVerdict, Rotation, judge_refresh};
pub use tickets::{LedgerError, Ticket, TicketError, TicketLedger};
pub use token_keys::TokenKeys;
pub use tokens::{IssuedToken, TokenIssuer, TokenSettings, TokenVerifier, VerifiedToken};
pub use workspace::{LastWorkspace, WorkspacePass};
