//! A compiled module as a file, and why it may be run.
#![allow(unsafe_code)]
// wasmtime takes compiled code as it is: whoever writes the bytes it is given decides what this process does. They are
// given to it only here, and only if all of this holds:
//
// - The folder belongs to this process' user and can be written by nobody else; so does the file, which is a regular
//   file with one name ([`Directory`] checks both on what it has open). Who can write as this user can as well replace
//   the program, or the signing key beside it; the cache adds nothing to that.
// - The bytes are those this host wrote: they begin with this format's mark and the key of just this wasm and compiler,
//   and their SHA-256 is the one recorded with them. That finds what was torn by a crash, rotted or was renamed.
// - They are checked and used as one copy in memory. A file that changes later changes nothing.
//
// The key names wasmtime's release, the target, the CPU's features and every setting of the compiler, so code of
// another one is not even found; wasmtime checks the same again.

use std::io::Read;

use sha2::{Digest, Sha256};
use wasmtime::{Engine, Module};

use super::CacheError;
use super::directory::Directory;

/// The first bytes of a file. The number is the format's.
const MARK: &[u8; 16] = b"coditect-cwasm 1";

/// Mark, key and SHA-256.
const HEAD_BYTES: usize = 16 + 32 + 32;

/// The module in a file, or none where there is no file.
pub(super) fn load(
    directory: &Directory,
    runtime: &Engine,
    name: &str,
    key: &[u8; 32],
    limit: u64,
) -> Result<Option<Module>, CacheError> {
    let Some(file) = directory.read(name, limit)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = Read::take(&file, limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|source| CacheError::Io { action: "read the file", source })?;
    let code = verified(&bytes, key)?;
    // SAFETY: `code` is, unchanged, what `Module::serialize` gave this host's `store`: see the top of this file. The
    // bytes are owned by this function, and wasmtime copies them.
    let module = unsafe { Module::deserialize(runtime, code) };
    module.map(Some).map_err(|error| CacheError::Refused(format!("{error:#}")))
}

/// Writes a module's file, whole or not at all.
pub(super) fn store(
    directory: &Directory,
    module: &Module,
    name: &str,
    key: &[u8; 32],
    limit: u64,
    temporary: &str,
) -> Result<(), CacheError> {
    let code = module.serialize().map_err(|error| CacheError::Refused(format!("{error:#}")))?;
    let actual = (HEAD_BYTES + code.len()) as u64;
    if actual > limit {
        return Err(CacheError::TooLarge { actual, limit });
    }
    directory.write(name, temporary, &[MARK, key, &digest(key, &code), &code])
}

/// The code of a file that this host wrote for this key.
fn verified<'a>(bytes: &'a [u8], key: &[u8; 32]) -> Result<&'a [u8], CacheError> {
    let parts = bytes.split_first_chunk::<16>().and_then(|(mark, rest)| {
        let (of, rest) = rest.split_first_chunk::<32>()?;
        let (recorded, code) = rest.split_first_chunk::<32>()?;
        Some((mark, of, recorded, code))
    });
    match parts {
        None => Err(CacheError::Damaged("it is too short")),
        Some((mark, ..)) if mark != MARK => Err(CacheError::Damaged("it does not begin as such a file")),
        Some((_, of, ..)) if of != key => Err(CacheError::Damaged("it is another module's")),
        Some((_, _, recorded, code)) if *recorded != digest(key, code) => {
            Err(CacheError::Damaged("its SHA-256 is not the recorded one"))
        }
        Some((.., code)) => Ok(code),
    }
}

fn digest(key: &[u8; 32], code: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(MARK).chain_update(key).chain_update(code).finalize().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn only_what_was_written_for_the_key_is_verified() {
        let key = [7; 32];
        let file = [&MARK[..], &key, &digest(&key, b"code"), b"code"].concat();
        assert_eq!(verified(&file, &key).unwrap(), b"code");
        assert!(verified(&file, &[8; 32]).is_err(), "another key");
        for index in 0..file.len() {
            let mut changed = file.clone();
            changed[index] ^= 1;
            assert!(verified(&changed, &key).is_err(), "byte {index} changed");
            assert!(verified(&file[..index], &key).is_err(), "cut off at {index}");
        }
        assert!(verified(&[&file[..], b"x"].concat(), &key).is_err(), "something added");
    }
}
