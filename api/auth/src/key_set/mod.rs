//! The set of key pairs that sign and verify tokens, and how one follows another.
//!
//! Each key has a time from which it signs; it does until the next key's time comes, so at any moment exactly one
//! signs. Before its time a key is only published, so that every verifier knows it when it begins; afterwards it goes on
//! verifying for an overlap, so that a rotation ends nobody's login. Nothing has to happen at those times: what a key
//! may do follows from the clock.

mod algorithm;
mod error;
mod file;
mod stored;

pub use self::algorithm::{KeyAlgorithm, UnknownAlgorithm};
pub use self::error::{KeyFileError, KeySetError};
pub use self::file::{KeySetFile, Stamp};
use self::stored::StoredKey;
use crate::Entropy;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The most keys of a set. With a rotation a day and an overlap of 30 days there are 32.
const MAX_KEYS: usize = 64;
/// The longest key id, in bytes. It stands in every token.
const MAX_KID_BYTES: usize = 64;

/// What a key does at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It is published and will sign.
    Next,
    /// It signs. Exactly one key does.
    Signing,
    /// It signs no more, and what it has signed is still good.
    Retired,
    /// What it has signed is refused.
    Gone,
}

impl KeyState {
    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signing => "signing",
            Self::Retired => "retired",
            Self::Gone => "gone",
        }
    }
}

/// A key pair of a set.
pub struct KeyPair {
    stored: StoredKey,
    signing: EncodingKey,
    verifying: DecodingKey,
    public: Jwk,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair").field("kid", &self.stored.kid).finish_non_exhaustive()
    }
}

impl KeyPair {
    /// Its id: the `kid` of tokens it signs.
    pub fn kid(&self) -> &str {
        &self.stored.kid
    }

    /// The one algorithm it is used with.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.stored.alg
    }

    /// When it was made, in Unix seconds.
    pub fn created_at(&self) -> i64 {
        self.stored.created_at
    }

    /// From when on it signs, in Unix seconds.
    pub fn signs_from(&self) -> i64 {
        self.stored.signs_from
    }

    /// From when on what it has signed is refused, in Unix seconds; `None` while no key follows it.
    pub fn verifies_until(&self) -> Option<i64> {
        self.stored.verifies_until
    }

    pub(crate) fn signing(&self) -> &EncodingKey {
        &self.signing
    }

    pub(crate) fn verifying(&self) -> &DecodingKey {
        &self.verifying
    }

    fn verifies_at(&self, now: i64) -> bool {
        self.stored.verifies_until.is_none_or(|until| now < until)
    }
}

/// How a key follows another.
#[derive(Debug, Clone, Copy)]
pub struct KeyRotation {
    /// What the new key signs with.
    pub algorithm: KeyAlgorithm,
    /// Seconds until it signs: longer than verifiers keep a copy of the public keys, and than the slowest replica takes
    /// to read the file.
    pub activate_after: i64,
    /// Seconds for which the key before it goes on verifying after that: no shorter than anything it signed can live.
    pub overlap: i64,
}

/// Keys, in the order in which they sign; at least one.
#[derive(Debug, Clone)]
pub struct KeySet {
    keys: Vec<Arc<KeyPair>>,
}

/// The file's content: a JWK set (RFC 7517, 5).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    keys: Vec<StoredKey>,
}

impl KeySet {
    /// A set of one new key, which signs from now on (Unix seconds).
    ///
    /// # Errors
    /// [`KeySetError::Generate`].
    pub fn generate(algorithm: KeyAlgorithm, now: i64, entropy: &dyn Entropy) -> Result<Self, KeySetError> {
        let key = StoredKey::generate(algorithm, now, now, entropy)?.open()?;
        Ok(Self { keys: vec![Arc::new(key)] })
    }

    /// Reads a stored set.
    ///
    /// # Errors
    /// [`KeySetError::Malformed`] for anything [`encode`](Self::encode) would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeySetError> {
        // The parser's own words could quote what it found.
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| {
            let kind =
                if error.is_data() { "a member is missing, unknown or of another type" } else { "no JSON" };
            KeySetError::Malformed(format!("{kind} (line {}, column {})", error.line(), error.column()))
        })?;
        check(&stored.keys)?;
        let open = |key: &StoredKey| match key.open() {
            Ok(pair) => Ok(Arc::new(pair)),
            Err(KeySetError::Malformed(reason)) => {
                Err(KeySetError::Malformed(format!("key {}: {reason}", key.kid)))
            }
            Err(error) => Err(error),
        };
        Ok(Self { keys: stored.keys.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// The set with its private keys, to be stored.
    ///
    /// # Errors
    /// [`KeySetError::Malformed`] where it cannot be written, which no input can cause.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, KeySetError> {
        let stored = Stored { keys: self.keys.iter().map(|key| key.stored.clone()).collect() };
        let text = serde_json::to_vec_pretty(&stored);
        text.map(Zeroizing::new).map_err(|error| KeySetError::Malformed(error.to_string()))
    }

    /// All keys, those that are gone included, in the order in which they sign.
    pub fn keys(&self) -> impl Iterator<Item = &KeyPair> {
        self.keys.iter().map(|key| &**key)
    }

    /// The key that signs at `now` (Unix seconds). A clock that stands before the first key's time has that one sign.
    pub fn signing(&self, now: i64) -> &KeyPair {
        let after = self.keys.partition_point(|key| key.signs_from() <= now);
        &self.keys[after.saturating_sub(1)]
    }

    /// The key whose tokens with this `kid` are good at `now` (Unix seconds).
    pub(crate) fn verifying(&self, kid: &str, now: i64) -> Option<&KeyPair> {
        self.keys().find(|key| key.kid() == kid && key.verifies_at(now))
    }

    /// What a key does at `now` (Unix seconds).
    pub fn state(&self, key: &KeyPair, now: i64) -> KeyState {
        let signing = self.signing(now);
        if signing.kid() == key.kid() {
            KeyState::Signing
        } else if key.signs_from() > signing.signs_from() {
            KeyState::Next
        } else if key.verifies_at(now) {
            KeyState::Retired
        } else {
            KeyState::Gone
        }
    }

    /// What others verify with at `now` (Unix seconds): every key that is not gone, without its private part.
    pub fn public(&self, now: i64) -> JwkSet {
        JwkSet {
            keys: self.keys().filter(|key| key.verifies_at(now)).map(|key| key.public.clone()).collect(),
        }
    }

    /// Adds a key that will follow the newest one, and leaves out those that are gone. Returns the new key's id.
    ///
    /// # Errors
    /// [`KeySetError::NextWaiting`] where one waits already, [`KeySetError::Full`].
    pub fn rotate(
        &mut self,
        rotation: KeyRotation,
        now: i64,
        entropy: &dyn Entropy,
    ) -> Result<String, KeySetError> {
        if let Some(next) = self.keys().find(|key| self.state(key, now) == KeyState::Next) {
            return Err(KeySetError::NextWaiting { kid: next.kid().to_owned() });
        }
        self.keys.retain(|key| key.verifies_at(now));
        if self.keys.len() >= MAX_KEYS {
            return Err(KeySetError::Full(self.keys.len()));
        }
        let begin = now.saturating_add(rotation.activate_after.max(0));
        // One key a second at most, so that their order is never in doubt.
        let signs_from =
            self.keys.last().map_or(begin, |last| begin.max(last.signs_from().saturating_add(1)));
        self.follow(signs_from.saturating_add(rotation.overlap.max(0)));
        self.push(StoredKey::generate(rotation.algorithm, now, signs_from, entropy)?)
    }

    /// Takes a key out at once: what it has signed is refused from now on. Where it was the one that signs, the next
    /// does in its place, or else a new one of its kind, whose id is returned.
    ///
    /// # Errors
    /// [`KeySetError::NoSuchKey`], [`KeySetError::Generate`].
    pub fn retire(
        &mut self,
        kid: &str,
        now: i64,
        entropy: &dyn Entropy,
    ) -> Result<Option<String>, KeySetError> {
        let retired = self.keys.iter().find(|key| key.kid() == kid).cloned();
        let retired = retired.ok_or_else(|| KeySetError::NoSuchKey(kid.to_owned()))?;
        let state = self.state(&retired, now);
        self.keys.retain(|key| key.kid() != kid && key.verifies_at(now));
        let after = self.keys.partition_point(|key| key.signs_from() < retired.signs_from());
        match state {
            KeyState::Signing if after < self.keys.len() => self.change(after, |next| next.signs_from = now),
            KeyState::Signing => {
                let key = StoredKey::generate(retired.algorithm(), now, now, entropy)?;
                return self.push(key).map(Some);
            }
            KeyState::Next if after == self.keys.len() => {
                // Nobody follows the one before it any more.
                self.change(after.saturating_sub(1), |before| before.verifies_until = None);
            }
            KeyState::Next | KeyState::Retired | KeyState::Gone => {}
        }
        Ok(None)
    }

    /// Has the newest key verify until `until`, or longer where it does already.
    fn follow(&mut self, until: i64) {
        if let Some(last) = self.keys.len().checked_sub(1) {
            self.change(last, |key| {
                key.verifies_until = Some(key.verifies_until.unwrap_or(until).max(until))
            });
        }
    }

    fn push(&mut self, key: StoredKey) -> Result<String, KeySetError> {
        let kid = key.kid.clone();
        self.keys.push(Arc::new(key.open()?));
        Ok(kid)
    }

    /// Changes a key's times.
    fn change(&mut self, at: usize, how: impl FnOnce(&mut StoredKey)) {
        if let Some(slot) = self.keys.get_mut(at) {
            let KeyPair { stored, signing, verifying, public } = &**slot;
            let mut stored = stored.clone();
            how(&mut stored);
            let (signing, verifying, public) = (signing.clone(), verifying.clone(), public.clone());
            *slot = Arc::new(KeyPair { stored, signing, verifying, public });
        }
    }
}

/// The rules by which exactly one key signs at any time, and none is refused before the next signs.
fn check(keys: &[StoredKey]) -> Result<(), KeySetError> {
    let malformed = |reason: String| Err(KeySetError::Malformed(reason));
    if keys.is_empty() || keys.len() > MAX_KEYS {
        return malformed(format!("a set has 1 to {MAX_KEYS} keys, this one {}", keys.len()));
    }
    for (at, key) in keys.iter().enumerate() {
        let fit =
            (1..=MAX_KID_BYTES).contains(&key.kid.len()) && key.kid.bytes().all(|b| b.is_ascii_graphic());
        if !fit {
            return malformed(format!(
                "key {}: `kid` has 1 to {MAX_KID_BYTES} visible ASCII characters",
                at + 1
            ));
        }
        if keys[..at].iter().any(|other| other.kid == key.kid) {
            return malformed(format!("two keys have the id {}", key.kid));
        }
    }
    for pair in keys.windows(2) {
        let [key, next] = pair else { continue };
        if key.signs_from >= next.signs_from {
            return malformed(format!(
                "key {}: `signs_from` must be later than that of the key before",
                next.kid
            ));
        }
        if key.verifies_until.is_none_or(|until| until < next.signs_from) {
            return malformed(format!(
                "key {}: `verifies_until` must not be before the next key signs",
                key.kid
            ));
        }
    }
    match keys.last() {
        Some(last) if last.verifies_until.is_some() => {
            malformed(format!("key {}: the last key has no `verifies_until`", last.kid))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
