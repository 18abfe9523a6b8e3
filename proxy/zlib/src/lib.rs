//! zlib-rs under the name `libz_ng_sys`.
//!
//! `pingora-core` enables flate2's `zlib-ng` feature, whose C sources need CMake to build. The edge promises to
//! build with a Rust toolchain and a C compiler alone, so the workspace replaces that crate by this one: the
//! part of its interface that flate2 uses, implemented by zlib-rs.
//!
//! The only difference between the two interfaces is that here the allocator functions in [`z_stream`] are
//! mandatory, as in `libz-ng-sys`; zlib-rs has them behind `Option`, which has the same layout.
#![allow(non_camel_case_types, non_snake_case, clippy::missing_safety_doc)]

use core::ffi::{c_char, c_int, c_void};

pub use libz_rs_sys::{
    Z_BLOCK, Z_BUF_ERROR, Z_DATA_ERROR, Z_DEFAULT_STRATEGY, Z_DEFLATED, Z_FINISH, Z_FULL_FLUSH,
    Z_MEM_ERROR, Z_NEED_DICT, Z_NO_FLUSH, Z_OK, Z_PARTIAL_FLUSH, Z_STREAM_END, Z_STREAM_ERROR,
    Z_SYNC_FLUSH, zlibVersion,
};

/// zlib's byte.
pub type Bytef = u8;
/// zlib's length within one call.
pub type uInt = core::ffi::c_uint;
/// zlib's running total.
pub type uLong = core::ffi::c_ulong;
/// Opaque state behind [`z_stream::state`].
pub type internal_state = libz_rs_sys::internal_state;
/// Allocates `items * size` bytes.
pub type alloc_func = unsafe extern "C" fn(*mut c_void, uInt, uInt) -> *mut c_void;
/// Frees what [`alloc_func`] gave.
pub type free_func = unsafe extern "C" fn(*mut c_void, *mut c_void);

/// The stream state shared with the caller; field for field zlib's own.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct z_stream {
    pub next_in: *const Bytef,
    pub avail_in: uInt,
    pub total_in: uLong,
    pub next_out: *mut Bytef,
    pub avail_out: uInt,
    pub total_out: uLong,
    pub msg: *mut c_char,
    pub state: *mut internal_state,
    pub zalloc: alloc_func,
    pub zfree: free_func,
    pub opaque: *mut c_void,
    pub data_type: c_int,
    pub adler: uLong,
    pub reserved: uLong,
}

// `Option<extern fn>` and `extern fn` have one layout; were a field ever added, this would not compile.
const _: () = assert!(size_of::<z_stream>() == size_of::<libz_rs_sys::z_stream>());
const _: () = assert!(align_of::<z_stream>() == align_of::<libz_rs_sys::z_stream>());

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {$(
        /// zlib's function of this name; the contract is zlib's.
        pub unsafe extern "C" fn $name(strm: *mut z_stream $(, $arg: $type)*) -> c_int {
            // SAFETY: the caller keeps zlib's contract; the two structs have one layout (asserted above).
            unsafe { libz_rs_sys::$name(strm.cast() $(, $arg)*) }
        }
    )*};
}

forward! {
    deflate(flush: c_int);
    deflateEnd();
    deflateReset();
    deflateParams(level: c_int, strategy: c_int);
    deflateSetDictionary(dictionary: *const Bytef, length: uInt);
    deflateInit2_(level: c_int, method: c_int, window_bits: c_int, mem_level: c_int, strategy: c_int, version: *const c_char, stream_size: c_int);
    inflate(flush: c_int);
    inflateEnd();
    inflateReset2(window_bits: c_int);
    inflateSetDictionary(dictionary: *const Bytef, length: uInt);
    inflateInit2_(window_bits: c_int, version: *const c_char, stream_size: c_int);
}
