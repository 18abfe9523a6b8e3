//! How often passwords and tokens may be tried, for each account and for each client address.
//!
//! An attempt takes a token from the bucket of its address and from that of its account before anything is looked up
//! or hashed, so that a refused one costs neither; accounts nobody has are counted like those somebody has. An empty
//! bucket refuses the right password too: otherwise guessing would go on behind the refusals. A login that succeeds
//! gives its token back, but none that failed attempts have taken.

mod limiter;

use std::net::IpAddr;
use std::sync::Arc;

use coditect_auth::Clock;
use coditect_config::ThrottleConfig;
use coditect_store::Client;
use coditect_store::records::normalise_email;
use sha2::{Digest, Sha256};

use self::limiter::{Key, Limiter};
use crate::error::ApiError;
use crate::state::ApiState;

/// Accounts, and addresses, that are remembered at most: about 7 MB each. Beyond that, those go first whose buckets are
/// the fullest, so that a flood of new names sets none free that was refused.
const MAX_KEYS: usize = 1 << 16;

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    Login,
    Register,
    /// Only by address: whose token it is nobody knows yet.
    Refresh,
    /// What the caller's own password confirms: a new one, the end of the account or the tenant.
    Password,
    /// A new member of the tenant, for whom a password is hashed.
    AddMember,
    /// A new address of the caller's own, which tells whether it is taken.
    Address,
}

impl Attempt {
    /// Its name in metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Register => "register",
            Self::Refresh => "refresh",
            Self::Password => "password",
            Self::AddMember => "add_member",
            Self::Address => "address",
        }
    }
}

/// The buckets of one process. Replicas do not share them.
pub struct Throttle {
    accounts: Option<Limiter>,
    addresses: Option<Limiter>,
    clock: Arc<dyn Clock>,
}

impl Throttle {
    /// Full buckets.
    pub fn new(config: &ThrottleConfig, clock: Arc<dyn Clock>) -> Self {
        let limiter = |rate| Limiter::new(rate, MAX_KEYS);
        Self { accounts: limiter(config.account), addresses: limiter(config.address), clock }
    }

    /// Takes a token for an account, in any spelling of its e-mail address, and one for the client's address.
    fn take(&self, account: &str, client: &Client) -> Result<(), Refusal> {
        let now = self.clock.now_millis();
        if let (Some(addresses), Some(address)) = (&self.addresses, address_key(client)) {
            addresses.take(address, now).map_err(|seconds| Refusal { by: "address", seconds })?;
        }
        if let Some(accounts) = &self.accounts {
            let taken = accounts.take(account_key(account), now);
            taken.map_err(|seconds| Refusal { by: "account", seconds })?;
        }
        Ok(())
    }

    /// Gives the account its token back.
    fn give_back(&self, account: &str) {
        if let Some(accounts) = &self.accounts {
            accounts.give_back(account_key(account), self.clock.now_millis());
        }
    }

    /// Whether the client's address has a token left; takes none.
    fn look(&self, client: &Client) -> Result<(), Refusal> {
        let (Some(addresses), Some(address)) = (&self.addresses, address_key(client)) else { return Ok(()) };
        let looked = addresses.look(address, self.clock.now_millis());
        looked.map_err(|seconds| Refusal { by: "address", seconds })
    }

    /// Takes a token for the client's address, if there is one.
    fn charge(&self, client: &Client) {
        if let (Some(addresses), Some(address)) = (&self.addresses, address_key(client)) {
            addresses.take(address, self.clock.now_millis()).ok();
        }
    }
}

/// Which bucket was empty, and for how many seconds more.
struct Refusal {
    by: &'static str,
    seconds: u64,
}

/// Counts an attempt that names an account by its e-mail address, before anything is done for it.
///
/// # Errors
/// [`ApiError::TooManyRequests`] if the account's or the address's bucket is empty.
pub(crate) fn admit(
    state: &ApiState,
    attempt: Attempt,
    account: &str,
    client: &Client,
) -> Result<(), ApiError> {
    state.throttle.take(account, client).map_err(|refusal| refuse(state, attempt, &refusal))
}

/// Takes back that an attempt was counted against the account: it has succeeded, or the password could not be tried.
pub(crate) fn give_back(state: &ApiState, account: &str) {
    state.throttle.give_back(account);
}

/// Refuses a refresh from an address that has made too many. It is not counted; see [`count_refresh`].
///
/// # Errors
/// [`ApiError::TooManyRequests`].
pub(crate) fn admit_refresh(state: &ApiState, client: &Client) -> Result<(), ApiError> {
    state.throttle.look(client).map_err(|refusal| refuse(state, Attempt::Refresh, &refusal))
}

/// Counts a refresh: each leaves an auth session and an entry of the audit trail behind.
pub(crate) fn count_refresh(state: &ApiState, client: &Client) {
    state.throttle.charge(client);
}

fn refuse(state: &ApiState, attempt: Attempt, refusal: &Refusal) -> ApiError {
    state.metrics.throttled(attempt.name(), refusal.by);
    ApiError::TooManyRequests { seconds: refusal.seconds }
}

/// Addresses are hashed: they may be of any length, and need not lie in memory.
fn account_key(account: &str) -> Key {
    let hash = Sha256::digest(normalise_email(account));
    let mut key = [0; 16];
    key.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    Key::from_be_bytes(key)
}

/// The network that one client has at its disposal: an IPv4 address, or the first 64 bits of an IPv6 one. `None` if the
/// address is not known, which the edge sees to that it is.
fn address_key(client: &Client) -> Option<Key> {
    let address: IpAddr = client.address.as_deref()?.parse().ok()?;
    Some(match address.to_canonical() {
        IpAddr::V4(address) => Key::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address) & !u128::from(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(address: &str) -> Option<Key> {
        address_key(&Client { user_agent: None, address: Some(address.to_owned()) })
    }

    #[test]
    fn an_ipv6_client_is_its_network_and_an_ipv4_client_is_itself_however_written() {
        assert_eq!(at("2001:db8:1:2:3::4"), at("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(at("nowhere"), None);
    }

    #[test]
    fn spellings_of_an_e_mail_address_share_a_bucket() {
        assert_eq!(account_key(" Ann@Example.com "), account_key("ann@example.com"));
        assert_ne!(account_key("ann@example.com"), account_key("bob@example.com"));
    }
}
