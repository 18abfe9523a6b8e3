//! What tokens are signed and verified with at this moment: a key set, a shared secret, or both.
//!
//! Where there is a key set, it signs, and a secret only verifies what was signed before the set was there. Tokens of
//! the set name their key (`kid`); tokens of the secret name none. So a token says which key to try, and that key says
//! which algorithm: a token never chooses how it is verified (RFC 8725, 3.1).
//!
//! The keys are swapped as a whole, while tokens are made and verified, by [`TokenKeys::replace`].

use crate::key_set::{KeyPair, KeySet};
use crate::{AuthError, Clock, SigningSecret, SystemClock};
use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use serde::Serialize;
use std::sync::Arc;

/// The keys at work, shared by issuer and verifiers.
pub struct TokenKeys {
    ring: ArcSwap<Ring>,
    clock: Arc<dyn Clock>,
}

/// One state of the keys.
struct Ring {
    /// Grows with each swap.
    revision: u64,
    set: Option<KeySet>,
    secret: Option<Secret>,
}

#[derive(Clone)]
struct Secret {
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl Secret {
    fn of(secret: &SigningSecret) -> Self {
        let bytes = secret.bytes();
        Self { signing: EncodingKey::from_secret(bytes), verifying: DecodingKey::from_secret(bytes) }
    }
}

/// The one way in which a token can be verified.
pub(crate) struct Verifying {
    pub(crate) key: DecodingKey,
    pub(crate) algorithm: Algorithm,
    pub(crate) validity: Validity,
}

/// For how long a signature that was found good stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    revision: u64,
    /// Unix seconds.
    until: i64,
}

impl TokenKeys {
    /// Signs and verifies with a secret (HS256).
    pub fn secret(secret: &SigningSecret) -> Self {
        let ring = Ring { revision: 0, set: None, secret: Some(Secret::of(secret)) };
        // A secret has no times, so this clock is never asked.
        Self { ring: ArcSwap::from_pointee(ring), clock: Arc::new(SystemClock) }
    }

    /// Signs and verifies with a key set; tokens of `former` are still good.
    pub fn set(set: KeySet, former: Option<&SigningSecret>, clock: Arc<dyn Clock>) -> Self {
        let ring = Ring { revision: 0, set: Some(set), secret: former.map(Secret::of) };
        Self { ring: ArcSwap::from_pointee(ring), clock }
    }

    /// Puts another key set in the place of the one at work. Tokens of keys that are not in it are refused from now on.
    pub fn replace(&self, set: KeySet) {
        self.ring.rcu(|ring| Ring {
            revision: ring.revision.wrapping_add(1),
            set: Some(set.clone()),
            secret: ring.secret.clone(),
        });
    }

    /// What others verify tokens with now, as a JWK set; `None` without a key set. A secret is never in it.
    pub fn public(&self) -> Option<String> {
        let ring = self.ring.load();
        let public = ring.set.as_ref()?.public(self.clock.now());
        serde_json::to_string(&public).ok()
    }

    /// The id of the key that signs now; `None` where it is the secret.
    pub fn signing_kid(&self) -> Option<String> {
        let ring = self.ring.load();
        ring.set.as_ref().map(|set| set.signing(self.clock.now()).kid().to_owned())
    }

    /// Whether a signature is still good at `now` (Unix seconds), without looking at it again.
    pub(crate) fn holds(&self, validity: Validity, now: i64) -> bool {
        validity.revision == self.ring.load().revision && now < validity.until
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now()
    }

    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String, AuthError> {
        let ring = self.ring.load();
        let signed = match (&ring.set, &ring.secret) {
            (Some(set), _) => {
                let key = set.signing(self.clock.now());
                let mut header = Header::new(key.algorithm().of_tokens());
                header.kid = Some(key.kid().to_owned());
                encode(&header, claims, key.signing())
            }
            (None, Some(secret)) => encode(&Header::new(Algorithm::HS256), claims, &secret.signing),
            (None, None) => return Err(AuthError::Unavailable),
        };
        signed.map_err(|_| AuthError::Unavailable)
    }

    /// What a token with this header is to be verified with at `now` (Unix seconds).
    ///
    /// # Errors
    /// [`AuthError::InvalidToken`] where it names no key of ours, or another algorithm than that key's.
    pub(crate) fn verifying(&self, header: &Header, now: i64) -> Result<Verifying, AuthError> {
        let ring = self.ring.load();
        let found = match (&header.kid, &ring.set, &ring.secret) {
            (Some(kid), Some(set), _) => set.verifying(kid, now).map(of_pair),
            (None, _, Some(secret)) => Some((secret.verifying.clone(), Algorithm::HS256, i64::MAX)),
            _ => None,
        };
        let (key, algorithm, until) = found.ok_or(AuthError::InvalidToken)?;
        if header.alg != algorithm {
            return Err(AuthError::InvalidToken);
        }
        Ok(Verifying { key, algorithm, validity: Validity { revision: ring.revision, until } })
    }
}

fn of_pair(key: &KeyPair) -> (DecodingKey, Algorithm, i64) {
    (key.verifying().clone(), key.algorithm().of_tokens(), key.verifies_until().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
