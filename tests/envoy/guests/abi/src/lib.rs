//! The Proxy-Wasm host functions as they are: statuses as numbers, results as bytes, nothing hidden by an SDK.
//!
//! A guest of this crate exports its own callbacks; [`export_module!`] gives it the exports every module needs.

mod bytes;
pub mod raw;

pub use bytes::{Bytes, decode_pairs, encode_pairs};

/// What a host function answered, as it is on the wire.
pub type Status = u32;

/// The status of a call that worked.
pub const OK: Status = 0;

/// The length a host function is handed, to see whether it was written.
pub const UNTOUCHED: usize = 7777;

/// Header maps by number.
pub mod map {
    pub const REQUEST_HEADERS: u32 = 0;
    pub const REQUEST_TRAILERS: u32 = 1;
    pub const RESPONSE_HEADERS: u32 = 2;
    pub const RESPONSE_TRAILERS: u32 = 3;
    pub const GRPC_INITIAL: u32 = 4;
    pub const GRPC_TRAILING: u32 = 5;
    pub const CALL_HEADERS: u32 = 6;
    pub const CALL_TRAILERS: u32 = 7;
    pub const NONE_SUCH: u32 = 8;
}

/// Buffers by number.
pub mod buffer {
    pub const REQUEST_BODY: u32 = 0;
    pub const RESPONSE_BODY: u32 = 1;
    pub const DOWNSTREAM: u32 = 2;
    pub const UPSTREAM: u32 = 3;
    pub const CALL_BODY: u32 = 4;
    pub const GRPC_MESSAGE: u32 = 5;
    pub const VM_CONFIGURATION: u32 = 6;
    pub const PLUGIN_CONFIGURATION: u32 = 7;
    pub const CALL_DATA: u32 = 8;
    pub const NONE_SUCH: u32 = 9;
}

/// What a callback answers.
pub mod action {
    pub const CONTINUE: u32 = 0;
    pub const PAUSE: u32 = 1;
}

/// A log line at level `info`.
pub fn log(message: &str) {
    log_at(2, message);
}

/// A log line at any level, trace (0) to critical (5).
pub fn log_at(level: u32, message: &str) -> Status {
    unsafe { raw::proxy_log(level, message.as_ptr(), message.len()) }
}

/// One property, by a path of segments joined with zero bytes.
pub fn property(path: &[u8]) -> (Status, Bytes) {
    Bytes::from_call(|data, size| unsafe { raw::proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// A buffer's bytes.
pub fn buffer_bytes(kind: u32, start: usize, most: usize) -> (Status, Bytes) {
    Bytes::from_call(|data, size| unsafe { raw::proxy_get_buffer_bytes(kind, start, most, data, size) })
}

/// A map, encoded.
pub fn map_pairs(kind: u32) -> (Status, Bytes) {
    Bytes::from_call(|data, size| unsafe { raw::proxy_get_header_map_pairs(kind, data, size) })
}

/// One value of a map.
pub fn map_value(kind: u32, name: &[u8]) -> (Status, Bytes) {
    Bytes::from_call(|data, size| unsafe {
        raw::proxy_get_header_map_value(kind, name.as_ptr(), name.len(), data, size)
    })
}

/// The number of a map's pairs.
pub fn map_size(kind: u32) -> (Status, usize) {
    let mut size = UNTOUCHED;
    let status = unsafe { raw::proxy_get_header_map_size(kind, &mut size) };
    (status, size)
}

/// Makes an HTTP call; gives its token.
pub fn http_call(
    upstream: &[u8],
    pairs: &[u8],
    body: &[u8],
    trailers: &[u8],
    milliseconds: u32,
) -> (Status, u32) {
    let mut token = 0;
    let status = unsafe {
        raw::proxy_http_call(
            upstream.as_ptr(),
            upstream.len(),
            pairs.as_ptr(),
            pairs.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            milliseconds,
            &mut token,
        )
    };
    (status, token)
}

/// What every module of ABI 0.2.1 exports beside its callbacks.
#[macro_export]
macro_rules! export_module {
    () => {
        unsafe extern "C" {
            fn __wasm_call_ctors();
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn _initialize() {
            unsafe { __wasm_call_ctors() };
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_abi_version_0_2_1() {}

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
            Box::leak(vec![0_u8; size].into_boxed_slice()).as_mut_ptr()
        }
    };
}
