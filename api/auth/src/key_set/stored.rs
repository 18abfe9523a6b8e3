//! A key pair as it is stored: a private JWK (RFC 7517; RFC 7518, 6.3; RFC 8037) with three members of our own, the times.

use super::error::KeySetError;
use super::{KeyAlgorithm, KeyPair};
use crate::Entropy;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{DecodingKey, EncodingKey};
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BigUint, RsaPrivateKey, rand_core};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// Length of an Ed25519 private key in bytes (RFC 8032, 5.1.5).
const ED25519_BYTES: usize = 32;
/// What stands before it in PKCS #8 (RFC 8410, 7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// Modulus of a new RSA key in bits: the least that RS256 allows (RFC 7518, 3.3), as keys are short-lived here.
const RSA_BITS: usize = 2048;
/// Moduli that are taken, in bits.
const RSA_BITS_TAKEN: std::ops::RangeInclusive<usize> = 2048..=4096;

/// Private key material in base64url, wiped on drop and never printed.
#[derive(Clone)]
pub(super) struct Private(Zeroizing<String>);

impl Private {
    fn of(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes)))
    }

    fn bytes(&self, member: &str) -> Result<Zeroizing<Vec<u8>>, KeySetError> {
        base64url(&self.0, member).map(Zeroizing::new)
    }
}

impl Serialize for Private {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Private {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// A private JWK, its members in the order they are written in.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredKey {
    pub(super) kid: String,
    #[serde(rename = "use")]
    usage: Usage,
    pub(super) alg: KeyAlgorithm,
    /// Unix seconds.
    pub(super) created_at: i64,
    /// Unix seconds: it signs from then on, until the next key does.
    pub(super) signs_from: i64,
    /// Unix seconds: from then on its tokens are refused. Left out while no other key follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) verifies_until: Option<i64>,
    // Refuses members that nobody knows, for the whole.
    #[serde(flatten)]
    material: Material,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Usage {
    #[serde(rename = "sig")]
    Signature,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kty", deny_unknown_fields)]
enum Material {
    #[serde(rename = "OKP")]
    Ed25519 { crv: Curve, x: String, d: Private },
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String, d: Private, p: Private, q: Private, dp: Private, dq: Private, qi: Private },
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Curve {
    Ed25519,
}

fn malformed(reason: impl Into<String>) -> KeySetError {
    KeySetError::Malformed(reason.into())
}

fn base64url(text: &str, member: &str) -> Result<Vec<u8>, KeySetError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed(format!("`{member}` is not base64url")))
}

impl StoredKey {
    /// A new key that signs from `signs_from` on. An RSA key takes a second or two of computing.
    pub(super) fn generate(
        algorithm: KeyAlgorithm,
        now: i64,
        signs_from: i64,
        entropy: &dyn Entropy,
    ) -> Result<Self, KeySetError> {
        let material = match algorithm {
            KeyAlgorithm::EdDSA => ed25519(entropy)?,
            KeyAlgorithm::RS256 => rsa(entropy)?,
        };
        let mut key = Self {
            kid: String::new(),
            usage: Usage::Signature,
            alg: algorithm,
            created_at: now,
            signs_from,
            verifies_until: None,
            material,
        };
        // RFC 7638: an id that only this key can have.
        let thumbprint = key.open()?.public.thumbprint(ThumbprintHash::SHA256);
        key.kid = thumbprint.map_err(|error| KeySetError::Generate(error.to_string()))?;
        Ok(key)
    }

    /// The key, ready to be used.
    ///
    /// # Errors
    /// [`KeySetError::Malformed`] where the members are not those of one key pair of its algorithm.
    pub(super) fn open(&self) -> Result<KeyPair, KeySetError> {
        let signing = match (&self.material, self.alg) {
            (Material::Ed25519 { d, .. }, KeyAlgorithm::EdDSA) => ed25519_signing(d)?,
            (Material::Rsa { .. }, KeyAlgorithm::RS256) => rsa_signing(&self.material)?,
            _ => return Err(malformed(format!("`kty` is not that of {} keys", self.alg))),
        };
        let unusable = |_| malformed("the key cannot be used");
        let mut public = Jwk::from_encoding_key(&signing, self.alg.of_tokens()).map_err(unusable)?;
        public.common.key_id = Some(self.kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        let verifying = DecodingKey::from_jwk(&public).map_err(unusable)?;
        if let Material::Ed25519 { x, .. } = &self.material
            && verifying.try_get_as_bytes().map_err(unusable)? != base64url(x, "x")?
        {
            return Err(malformed("`x` and `d` are not of one key"));
        }
        Ok(KeyPair { stored: self.clone(), signing, verifying, public })
    }
}

fn ed25519(entropy: &dyn Entropy) -> Result<Material, KeySetError> {
    let mut seed = Zeroizing::new([0u8; ED25519_BYTES]);
    entropy.fill(&mut *seed);
    let d = Private::of(&*seed);
    let public = Jwk::from_encoding_key(&ed25519_signing(&d)?, KeyAlgorithm::EdDSA.of_tokens())
        .and_then(|jwk| DecodingKey::from_jwk(&jwk))
        .map_err(|error| KeySetError::Generate(error.to_string()))?;
    let x = public.try_get_as_bytes().map_err(|error| KeySetError::Generate(error.to_string()))?;
    Ok(Material::Ed25519 { crv: Curve::Ed25519, x: URL_SAFE_NO_PAD.encode(x), d })
}

fn ed25519_signing(d: &Private) -> Result<EncodingKey, KeySetError> {
    let seed = d.bytes("d")?;
    if seed.len() != ED25519_BYTES {
        return Err(malformed("`d` of an Ed25519 key has 32 bytes"));
    }
    let der = Zeroizing::new([&ED25519_PKCS8[..], &seed[..]].concat());
    Ok(EncodingKey::from_ed_der(&der))
}

fn rsa(entropy: &dyn Entropy) -> Result<Material, KeySetError> {
    let failed = |error: rsa::Error| KeySetError::Generate(error.to_string());
    let key = RsaPrivateKey::new(&mut Random(entropy), RSA_BITS).map_err(failed)?;
    let (Some(dp), Some(dq), Some(qi), [p, q]) = (key.dp(), key.dq(), key.crt_coefficient(), key.primes())
    else {
        return Err(KeySetError::Generate("the RSA key is incomplete".into()));
    };
    let private = |number: &BigUint| Private::of(&Zeroizing::new(number.to_bytes_be()));
    Ok(Material::Rsa {
        n: URL_SAFE_NO_PAD.encode(key.n().to_bytes_be()),
        e: URL_SAFE_NO_PAD.encode(key.e().to_bytes_be()),
        d: private(key.d()),
        p: private(p),
        q: private(q),
        dp: private(dp),
        dq: private(dq),
        qi: private(&qi),
    })
}

fn rsa_signing(material: &Material) -> Result<EncodingKey, KeySetError> {
    let Material::Rsa { n, e, d, p, q, .. } = material else { return Err(malformed("not an RSA key")) };
    let number = |bytes: &[u8]| BigUint::from_bytes_be(bytes);
    let n = number(&base64url(n, "n")?);
    if !RSA_BITS_TAKEN.contains(&n.bits()) {
        return Err(malformed(format!("an RSA key has 2048 to 4096 bits, this one {}", n.bits())));
    }
    let e = number(&base64url(e, "e")?);
    let primes = vec![number(&p.bytes("p")?), number(&q.bytes("q")?)];
    let key = RsaPrivateKey::from_components(n, e, number(&d.bytes("d")?), primes)
        .map_err(|error| malformed(format!("the numbers are not those of one RSA key: {error}")))?;
    let der = key.to_pkcs1_der().map_err(|_| malformed("the RSA key cannot be encoded"))?;
    Ok(EncodingKey::from_rsa_der(der.as_bytes()))
}

/// Our randomness as the RSA crate wants it.
struct Random<'a>(&'a dyn Entropy);

impl rand_core::RngCore for Random<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill(dest);
        Ok(())
    }
}

impl rand_core::CryptoRng for Random<'_> {}
