//! Every host function: its type, and what of the guest's memory it may write.
//!
//! Written from the specification and not from the host, so that the two can differ.

/// A host function. Parameters: `i` is an `i32`, `I` an `i64`.
#[derive(Debug, Clone, Copy)]
pub struct HostCall {
    /// `env`, or `wasi` for both of WASI's names.
    pub module: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its parameters.
    pub parameters: &'static str,
    /// What it may write besides memory that it got from the guest's allocator.
    pub writes: &'static [Write],
    /// From where it may be called.
    pub from: From,
    /// The ABI versions that have it.
    pub versions: &'static [&'static str],
}

/// A place in the guest's memory, told by the number of the parameter that points to it.
#[derive(Debug, Clone, Copy)]
pub enum Write {
    /// So many bytes there.
    Fixed(usize, u32),
    /// As many as another parameter says.
    Sized(usize, usize),
}

/// From where a host function may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Callbacks only.
    Callbacks,
    /// Start-up code too.
    Start,
    /// The guest's allocator too.
    Anywhere,
}

use self::From::{Anywhere, Callbacks, Start};
use self::Write::{Fixed, Sized};

const ALL: &[&str] = &["0.1.0", "0.2.0", "0.2.1"];
const FIRST: &[&str] = &["0.1.0"];
const LATER: &[&str] = &["0.2.0", "0.2.1"];
const LAST: &[&str] = &["0.2.1"];

const fn env(name: &'static str, parameters: &'static str, writes: &'static [Write]) -> HostCall {
    HostCall { module: "env", name, parameters, writes, from: Callbacks, versions: ALL }
}

const fn of(versions: &'static [&'static str], call: HostCall) -> HostCall {
    HostCall { versions, ..call }
}

const fn from(from: From, call: HostCall) -> HostCall {
    HostCall { from, ..call }
}

const fn wasi(name: &'static str, parameters: &'static str, writes: &'static [Write]) -> HostCall {
    HostCall { module: "wasi", name, parameters, writes, from: Start, versions: ALL }
}

/// All that give a status or an errno. `proc_exit` and Emscripten's two are not here.
pub const HOST_CALLS: &[HostCall] = &[
    from(Anywhere, env("proxy_log", "iii", &[])),
    of(LAST, env("proxy_get_log_level", "i", &[Fixed(0, 4)])),
    env("proxy_get_current_time_nanoseconds", "i", &[Fixed(0, 8)]),
    env("proxy_set_effective_context", "i", &[]),
    env("proxy_done", "", &[]),
    env("proxy_get_status", "iii", &[Fixed(0, 4), Fixed(1, 4), Fixed(2, 4)]),
    env("proxy_get_header_map_size", "ii", &[Fixed(1, 4)]),
    env("proxy_get_header_map_pairs", "iii", &[Fixed(1, 4), Fixed(2, 4)]),
    env("proxy_set_header_map_pairs", "iii", &[]),
    env("proxy_get_header_map_value", "iiiii", &[Fixed(3, 4), Fixed(4, 4)]),
    env("proxy_add_header_map_value", "iiiii", &[]),
    env("proxy_replace_header_map_value", "iiiii", &[]),
    env("proxy_remove_header_map_value", "iii", &[]),
    env("proxy_get_buffer_bytes", "iiiii", &[Fixed(3, 4), Fixed(4, 4)]),
    env("proxy_get_buffer_status", "iii", &[Fixed(1, 4), Fixed(2, 4)]),
    env("proxy_set_buffer_bytes", "iiiii", &[]),
    env("proxy_get_property", "iiii", &[Fixed(2, 4), Fixed(3, 4)]),
    env("proxy_set_property", "iiii", &[]),
    env("proxy_send_local_response", "iiiiiiii", &[]),
    env("proxy_get_shared_data", "iiiii", &[Fixed(2, 4), Fixed(3, 4), Fixed(4, 4)]),
    env("proxy_set_shared_data", "iiiii", &[]),
    env("proxy_register_shared_queue", "iii", &[Fixed(2, 4)]),
    env("proxy_resolve_shared_queue", "iiiii", &[Fixed(4, 4)]),
    env("proxy_enqueue_shared_queue", "iii", &[]),
    env("proxy_dequeue_shared_queue", "iii", &[Fixed(1, 4), Fixed(2, 4)]),
    env("proxy_http_call", "iiiiiiiiii", &[Fixed(9, 4)]),
    env("proxy_grpc_call", "iiiiiiiiiiii", &[Fixed(11, 4)]),
    env("proxy_grpc_stream", "iiiiiiiii", &[Fixed(8, 4)]),
    env("proxy_grpc_send", "iiii", &[]),
    env("proxy_grpc_cancel", "i", &[]),
    env("proxy_grpc_close", "i", &[]),
    env("proxy_set_tick_period_milliseconds", "i", &[]),
    env("proxy_call_foreign_function", "iiiiii", &[Fixed(4, 4), Fixed(5, 4)]),
    of(LATER, env("proxy_continue_stream", "i", &[])),
    of(LATER, env("proxy_close_stream", "i", &[])),
    of(FIRST, env("proxy_continue_request", "", &[])),
    of(FIRST, env("proxy_continue_response", "", &[])),
    of(FIRST, env("proxy_clear_route_cache", "", &[])),
    of(FIRST, env("proxy_get_configuration", "ii", &[Fixed(0, 4), Fixed(1, 4)])),
    env("proxy_define_metric", "iiii", &[Fixed(3, 4)]),
    env("proxy_increment_metric", "iI", &[]),
    env("proxy_record_metric", "iI", &[]),
    env("proxy_get_metric", "ii", &[Fixed(1, 8)]),
    from(Anywhere, wasi("fd_write", "iiii", &[Fixed(3, 4)])),
    from(Anywhere, wasi("clock_time_get", "iIi", &[Fixed(2, 8)])),
    wasi("clock_res_get", "ii", &[Fixed(1, 8)]),
    from(Anywhere, wasi("poll_oneoff", "iiii", &[Fixed(3, 4)])),
    wasi("random_get", "ii", &[Sized(0, 1)]),
    wasi("environ_sizes_get", "ii", &[Fixed(0, 4), Fixed(1, 4)]),
    wasi("environ_get", "ii", &[]),
    wasi("args_sizes_get", "ii", &[Fixed(0, 4), Fixed(1, 4)]),
    wasi("args_get", "ii", &[]),
    wasi("fd_fdstat_get", "ii", &[Fixed(1, 24)]),
    wasi("sched_yield", "", &[]),
    wasi("fd_advise", "iIIi", &[]),
    wasi("fd_allocate", "iII", &[]),
    wasi("fd_close", "i", &[]),
    wasi("fd_datasync", "i", &[]),
    wasi("fd_fdstat_set_flags", "ii", &[]),
    wasi("fd_fdstat_set_rights", "iII", &[]),
    wasi("fd_filestat_get", "ii", &[]),
    wasi("fd_filestat_set_size", "iI", &[]),
    wasi("fd_filestat_set_times", "iIIi", &[]),
    wasi("fd_pread", "iiiIi", &[]),
    wasi("fd_prestat_dir_name", "iii", &[]),
    wasi("fd_prestat_get", "ii", &[]),
    wasi("fd_pwrite", "iiiIi", &[]),
    wasi("fd_read", "iiii", &[]),
    wasi("fd_readdir", "iiiIi", &[]),
    wasi("fd_renumber", "ii", &[]),
    wasi("fd_seek", "iIii", &[]),
    wasi("fd_sync", "i", &[]),
    wasi("fd_tell", "ii", &[]),
    wasi("path_create_directory", "iii", &[]),
    wasi("path_filestat_get", "iiiii", &[]),
    wasi("path_filestat_set_times", "iiiiIIi", &[]),
    wasi("path_link", "iiiiiii", &[]),
    wasi("path_open", "iiiiiIIii", &[]),
    wasi("path_readlink", "iiiiii", &[]),
    wasi("path_remove_directory", "iii", &[]),
    wasi("path_rename", "iiiiii", &[]),
    wasi("path_symlink", "iiiii", &[]),
    wasi("path_unlink_file", "iii", &[]),
    wasi("sock_accept", "iii", &[]),
    wasi("sock_recv", "iiiiii", &[]),
    wasi("sock_send", "iiiii", &[]),
    wasi("sock_shutdown", "ii", &[]),
];

impl HostCall {
    /// The module it is imported from: WASI's functions from the newer of their two.
    #[must_use]
    pub fn import_module(&self) -> &'static str {
        if self.module == "wasi" { "wasi_snapshot_preview1" } else { self.module }
    }

    /// Its import in the text format, named `$<name>`.
    #[must_use]
    pub fn import(&self) -> String {
        let parameters: Vec<&str> =
            self.parameters.chars().map(|kind| if kind == 'I' { "i64" } else { "i32" }).collect();
        format!(
            "(import \"{}\" \"{name}\" (func ${name} (param {}) (result i32)))\n",
            self.import_module(),
            parameters.join(" "),
            name = self.name,
        )
    }

    /// A call of it with nothing but zeros.
    #[must_use]
    pub fn with_zeros(&self) -> String {
        let zeros: String = self
            .parameters
            .chars()
            .map(|kind| if kind == 'I' { "(i64.const 0) " } else { "(i32.const 0) " })
            .collect();
        format!("(call ${} {zeros})", self.name)
    }
}
