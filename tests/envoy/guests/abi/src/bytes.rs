//! What host functions hand over: memory the host allocated in the guest, and pairs in their encoding.

use crate::{Status, UNTOUCHED};

/// Bytes the host wrote, or the sign that it wrote none.
pub struct Bytes {
    data: *mut u8,
    size: usize,
}

impl Bytes {
    /// Calls with places for a pointer and a length.
    pub fn from_call(call: impl FnOnce(*mut *mut u8, *mut usize) -> Status) -> (Status, Self) {
        let mut bytes = Self { data: std::ptr::null_mut(), size: UNTOUCHED };
        let status = call(&mut bytes.data, &mut bytes.size);
        (status, bytes)
    }

    /// The length as the host left it: [`UNTOUCHED`] if it wrote none.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether the host gave a null pointer, or none.
    pub fn is_null(&self) -> bool {
        self.data.is_null()
    }

    /// The bytes; empty where there are none.
    pub fn get(&self) -> &[u8] {
        if self.data.is_null() || self.size == UNTOUCHED {
            return &[];
        }
        unsafe { std::slice::from_raw_parts(self.data, self.size) }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        // Made by proxy_on_memory_allocate as a boxed slice of exactly this size.
        if !self.data.is_null() && self.size != UNTOUCHED && self.size > 0 {
            drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(self.data, self.size)) });
        }
    }
}

/// Pairs in the encoding of header maps: count, lengths, then names and values, each ended by a zero byte.
pub fn encode_pairs<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(N, V)]) -> Vec<u8> {
    let mut bytes = u32::to_le_bytes(pairs.len() as u32).to_vec();
    for (name, value) in pairs {
        bytes.extend(u32::to_le_bytes(name.as_ref().len() as u32));
        bytes.extend(u32::to_le_bytes(value.as_ref().len() as u32));
    }
    for (name, value) in pairs {
        for part in [name.as_ref(), value.as_ref()] {
            bytes.extend(part);
            bytes.push(0);
        }
    }
    bytes
}

/// The pairs of such an encoding.
pub fn decode_pairs(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let count = number(0)?;
    let mut at = 4 + count * 8;
    let mut take = |size: usize| {
        let part = String::from_utf8_lossy(bytes.get(at..at + size)?).into_owned();
        at += size + 1;
        Some(part)
    };
    (0..count).map(|pair| Some((take(number(4 + pair * 8)?)?, take(number(8 + pair * 8)?)?))).collect()
}
