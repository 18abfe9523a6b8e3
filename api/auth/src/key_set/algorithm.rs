//! The algorithms of key pairs.

use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a key pair signs with (RFC 7518, 3.1; RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// Ed25519: small keys and signatures, quick to make and to check.
    EdDSA,
    /// RSA with SHA-256 (PKCS #1 v1.5), for verifiers that know nothing newer.
    RS256,
}

impl KeyAlgorithm {
    /// The names of all, as tokens and JWKs spell them.
    pub const NAMES: [&str; 2] = ["EdDSA", "RS256"];

    /// Its name in tokens and JWKs.
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::RS256 => "RS256",
        }
    }

    pub(crate) fn of_tokens(self) -> Algorithm {
        match self {
            Self::EdDSA => Algorithm::EdDSA,
            Self::RS256 => Algorithm::RS256,
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of [`KeyAlgorithm::NAMES`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no algorithm of key pairs, expected EdDSA or RS256")]
pub struct UnknownAlgorithm(String);

impl FromStr for KeyAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        match name {
            "EdDSA" => Ok(Self::EdDSA),
            "RS256" => Ok(Self::RS256),
            other => Err(UnknownAlgorithm(other.to_owned())),
        }
    }
}
