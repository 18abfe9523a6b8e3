//! What a client sends to prove who it is, and the proof's verification.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Longest key id, in bytes.
pub const MAX_KEY_ID: usize = 64;
/// Stands in for the key that an unknown id has not, so that it costs the same time.
const NO_KEY: [u8; 32] = [0; 32];

/// The signature headers of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The key's id; known or not.
    pub key: String,
    /// Seconds since 1970.
    pub time: u64,
    /// SHA-256 the body is said to have.
    pub digest: [u8; 32],
    signature: [u8; 32],
}

/// Why a request does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A signature header is not there.
    Missing,
    /// The time is too far off.
    Expired,
    /// Something is not as it was signed, or no proper signature.
    Invalid,
    /// The body is longer than what is read.
    TooLarge,
}

impl Credentials {
    /// Reads the four headers' values.
    pub fn read(
        key: Option<Vec<u8>>,
        time: Option<Vec<u8>>,
        digest: Option<Vec<u8>>,
        signature: Option<Vec<u8>>,
    ) -> Result<Self, Failure> {
        let (Some(key), Some(time), Some(digest), Some(signature)) = (key, time, digest, signature) else {
            return Err(Failure::Missing);
        };
        let text = |bytes| String::from_utf8(bytes).map_err(|_| Failure::Invalid);
        let key = text(key)?;
        // `parse` would take a sign.
        let time = text(time)?;
        if !is_key_id(&key) || !time.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Failure::Invalid);
        }
        let time = time.parse().map_err(|_| Failure::Invalid)?;
        Ok(Self { key, time, digest: hash(&digest)?, signature: hash(&signature)? })
    }

    /// Verifies the signature, in constant time, with the key its id stands for; none is a key that never fits.
    pub fn verify(&self, key: Option<&[u8]>, method: &[u8], path: &[u8]) -> Result<(), Failure> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.unwrap_or(&NO_KEY)).map_err(|_| Failure::Invalid)?;
        let (time, digest) = (self.time.to_string(), hex::encode(self.digest));
        let lines = [b"CODITECT-HMAC-SHA256".as_slice(), method, path, time.as_bytes(), digest.as_bytes()];
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                mac.update(b"\n");
            }
            mac.update(line);
        }
        match (mac.verify_slice(&self.signature), key) {
            (Ok(()), Some(_)) => Ok(()),
            _ => Err(Failure::Invalid),
        }
    }
}

/// Whether this can be a key's id.
pub fn is_key_id(id: &str) -> bool {
    (1..=MAX_KEY_ID).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn hash(text: &[u8]) -> Result<[u8; 32], Failure> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| Failure::Invalid)?;
    Ok(hash)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KEY: [u8; 16] = [7; 16];
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn signed(lines: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&KEY).unwrap();
        mac.update(lines.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    fn read(key: &str, time: &str, digest: &str, signature: &str) -> Result<Credentials, Failure> {
        let bytes = |text: &str| Some(text.as_bytes().to_vec());
        Credentials::read(bytes(key), bytes(time), bytes(digest), bytes(signature))
    }

    #[test]
    fn what_was_signed_verifies_and_nothing_else() {
        let signature = signed(&format!("CODITECT-HMAC-SHA256\nPOST\n/hooks?a=b\n1700000000\n{EMPTY}"));
        let good = read("ci", "1700000000", EMPTY, &signature).unwrap();
        assert_eq!(good.verify(Some(&KEY), b"POST", b"/hooks?a=b"), Ok(()));
        assert_eq!(good.verify(Some(&KEY), b"GET", b"/hooks?a=b"), Err(Failure::Invalid));
        assert_eq!(good.verify(Some(&KEY), b"POST", b"/hooks?a=c"), Err(Failure::Invalid));
        assert_eq!(good.verify(Some(&[8; 16]), b"POST", b"/hooks?a=b"), Err(Failure::Invalid));
        let later = read("ci", "1700000001", EMPTY, &signature).unwrap();
        assert_eq!(later.verify(Some(&KEY), b"POST", b"/hooks?a=b"), Err(Failure::Invalid));
        let other = read("ci", "1700000000", &EMPTY.replace('e', "f"), &signature).unwrap();
        assert_eq!(other.verify(Some(&KEY), b"POST", b"/hooks?a=b"), Err(Failure::Invalid));
    }

    #[test]
    fn the_stand_in_for_a_missing_key_opens_nothing() {
        let mut mac = Hmac::<Sha256>::new_from_slice(&NO_KEY).unwrap();
        mac.update(format!("CODITECT-HMAC-SHA256\nGET\n/\n1\n{EMPTY}").as_bytes());
        let forged = hex::encode(mac.finalize().into_bytes());
        let credentials = read("nobody", "1", EMPTY, &forged).unwrap();
        assert_eq!(credentials.verify(None, b"GET", b"/"), Err(Failure::Invalid));
        assert_eq!(credentials.verify(Some(&NO_KEY), b"GET", b"/"), Ok(()), "the test is one");
    }

    #[test]
    fn headers_that_are_no_signature_are_refused() {
        let signature = "00".repeat(32);
        assert!(read("ci", "1", EMPTY, &signature).is_ok());
        for (key, time, digest, signature) in [
            ("", "1", EMPTY, signature.as_str()),
            ("c i", "1", EMPTY, &signature),
            ("ci", "", EMPTY, &signature),
            ("ci", "+1", EMPTY, &signature),
            ("ci", "99999999999999999999", EMPTY, &signature),
            ("ci", "1", "00", &signature),
            ("ci", "1", EMPTY, "zz"),
            ("ci", "1", EMPTY, &signature[1..]),
        ] {
            assert_eq!(
                read(key, time, digest, signature),
                Err(Failure::Invalid),
                "{key} {time} {digest} {signature}"
            );
        }
        let some = || Some(b"1".to_vec());
        assert_eq!(Credentials::read(some(), some(), None, some()), Err(Failure::Missing));
        assert_eq!(Credentials::read(Some(vec![0xff]), some(), some(), some()), Err(Failure::Invalid));
    }
}
