//! The WASI preview1 functions that SDKs link, under both module names they use.
//!
//! A guest has no files, sockets, arguments or environment. Answers are those of the reference host, so that the
//! start-up code of Rust, Go, C++ and AssemblyScript runs as it does in Envoy.

use wasmtime::Linker;

use super::{Allowed, check_place, fatal, log, traced};
use crate::abi::{LogLevel, Status};
use crate::error::TrapCause;
use crate::limits::MAX_RANDOM_BYTES;
use crate::memory;
use crate::state::{Answer, ByteBudget, Caller, Fault, HostState};

/// `wasi_errno_t`, as far as it is answered here.
mod errno {
    pub(super) const SUCCESS: u32 = 0;
    pub(super) const BADF: u32 = 8;
    pub(super) const FAULT: u32 = 21;
    pub(super) const INVAL: u32 = 28;
    pub(super) const NOENT: u32 = 44;
    pub(super) const NOSYS: u32 = 52;
    pub(super) const NOTSUP: u32 = 58;
    pub(super) const SPIPE: u32 = 70;
}

/// Both names are offered; the functions are the same.
const MODULES: [&str; 2] = ["wasi_unstable", "wasi_snapshot_preview1"];

/// Most buffers in one `fd_write`.
const MAX_IOVECS: u32 = 1024;

/// Tells the plugin's tracer of a call, if it has one.
macro_rules! traced {
    ($caller:ident, $name:literal, $settled:ident, $($arg:ident),*) => {
        if $caller.data().scope.plugin.tracer.is_some() {
            let arguments: &[u64] = &[$(u64::from($arg)),*];
            traced(&mut $caller, $name, arguments, $settled.as_ref().ok().copied());
        }
    };
}

/// Links WASI functions that do something.
macro_rules! wasi {
    ($linker:ident, $module:ident: $($name:literal $allowed:ident $function:ident($($arg:ident: $type:ty),*);)*) => {
        $(
            $linker.func_wrap(
                $module,
                $name,
                |mut caller: Caller<'_>, $($arg: $type),*| -> wasmtime::Result<u32> {
                    let answer = check_place(&caller, $name, Allowed::$allowed)
                        .and_then(|()| $function(&mut caller, $($arg),*));
                    let settled = settle(&mut caller, answer);
                    traced!(caller, $name, settled, $($arg),*);
                    settled
                },
            )?;
        )*
    };
}

/// Links WASI functions that only ever answer one number.
macro_rules! constant {
    ($linker:ident, $module:ident: $($name:literal($($type:ty),*) = $errno:expr;)*) => {
        $(
            $linker.func_wrap(
                $module,
                $name,
                constant!(@closure $name, $errno, $($type),*),
            )?;
        )*
    };
    (@closure $name:literal, $errno:expr, $($type:ty),*) => {
        constant!(@named $name, $errno, [] [a b c d e f g h i] $($type),*)
    };
    (@named $name:literal, $errno:expr, [$($arg:ident: $known:ty,)*] [$next:ident $($free:ident)*]
     $type:ty $(, $rest:ty)*) => {
        constant!(@named $name, $errno, [$($arg: $known,)* $next: $type,] [$($free)*] $($rest),*)
    };
    (@named $name:literal, $errno:expr, [$($arg:ident: $known:ty,)*] [$($free:ident)*]) => {
        |mut caller: Caller<'_>, $($arg: $known),*| -> wasmtime::Result<u32> {
            let answer = check_place(&caller, $name, Allowed::Start).map(|()| $errno);
            let settled = settle(&mut caller, answer);
            traced!(caller, $name, settled, $($arg),*);
            settled
        }
    };
}

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    for module in MODULES {
        wasi! { linker, module:
            "fd_write" Anywhere fd_write(fd: u32, iovecs: u32, count: u32, return_written: u32);
            "clock_time_get" Anywhere clock_time_get(clock: u32, precision: u64, return_time: u32);
            "clock_res_get" Start clock_res_get(clock: u32, return_resolution: u32);
            "poll_oneoff" Anywhere poll_oneoff(subscriptions: u32, events: u32, count: u32, return_events: u32);
            "random_get" Start random_get(buffer: u32, length: u32);
            "environ_sizes_get" Start two_zeros(return_count: u32, return_bytes: u32);
            "args_sizes_get" Start two_zeros(return_count: u32, return_bytes: u32);
            "fd_fdstat_get" Start fd_fdstat_get(fd: u32, return_stat: u32);
        }
        nothing(linker, module)?;
        linker.func_wrap(
            module,
            "proc_exit",
            |mut caller: Caller<'_>, code: u32| -> wasmtime::Result<()> {
                if caller.data().scope.plugin.tracer.is_some() {
                    traced(&mut caller, "proc_exit", &[code.into()], None);
                }
                Err(fatal(&mut caller, TrapCause::Exit(code).into()))
            },
        )?;
    }
    // Emscripten's own two.
    linker.func_wrap(super::ENV, "emscripten_notify_memory_growth", |_memory: u32| {})?;
    linker.func_wrap(super::ENV, "pthread_equal", |left: u32, right: u32| u32::from(left == right))?;
    Ok(())
}

/// What there is nothing behind.
fn nothing(linker: &mut Linker<HostState>, module: &str) -> wasmtime::Result<()> {
    constant! { linker, module:
        "environ_get"(u32, u32) = errno::SUCCESS;
        "args_get"(u32, u32) = errno::SUCCESS;
        "sched_yield"() = errno::SUCCESS;
        "fd_advise"(u32, u64, u64, u32) = errno::SUCCESS;
        "fd_allocate"(u32, u64, u64) = errno::BADF;
        "fd_close"(u32) = errno::SUCCESS;
        "fd_datasync"(u32) = errno::SUCCESS;
        "fd_fdstat_set_flags"(u32, u32) = errno::NOSYS;
        "fd_fdstat_set_rights"(u32, u64, u64) = errno::BADF;
        "fd_filestat_get"(u32, u32) = errno::BADF;
        "fd_filestat_set_size"(u32, u64) = errno::BADF;
        "fd_filestat_set_times"(u32, u64, u64, u32) = errno::BADF;
        "fd_pread"(u32, u32, u32, u64, u32) = errno::NOSYS;
        "fd_prestat_dir_name"(u32, u32, u32) = errno::NOSYS;
        "fd_prestat_get"(u32, u32) = errno::BADF;
        "fd_pwrite"(u32, u32, u32, u64, u32) = errno::NOSYS;
        "fd_read"(u32, u32, u32, u32) = errno::NOSYS;
        "fd_readdir"(u32, u32, u32, u64, u32) = errno::BADF;
        "fd_renumber"(u32, u32) = errno::NOTSUP;
        "fd_seek"(u32, u64, u32, u32) = errno::SPIPE;
        "fd_sync"(u32) = errno::SUCCESS;
        "fd_tell"(u32, u32) = errno::SPIPE;
        "path_create_directory"(u32, u32, u32) = errno::NOTSUP;
        "path_filestat_get"(u32, u32, u32, u32, u32) = errno::NOTSUP;
        "path_filestat_set_times"(u32, u32, u32, u32, u64, u64, u32) = errno::NOTSUP;
        "path_link"(u32, u32, u32, u32, u32, u32, u32) = errno::NOTSUP;
        "path_open"(u32, u32, u32, u32, u32, u64, u64, u32, u32) = errno::NOENT;
        "path_readlink"(u32, u32, u32, u32, u32, u32) = errno::NOTSUP;
        "path_remove_directory"(u32, u32, u32) = errno::NOTSUP;
        "path_rename"(u32, u32, u32, u32, u32, u32) = errno::NOTSUP;
        "path_symlink"(u32, u32, u32, u32, u32) = errno::NOTSUP;
        "path_unlink_file"(u32, u32, u32) = errno::NOTSUP;
        "sock_accept"(u32, u32, u32) = errno::NOTSUP;
        "sock_recv"(u32, u32, u32, u32, u32, u32) = errno::NOTSUP;
        "sock_send"(u32, u32, u32, u32, u32) = errno::NOTSUP;
        "sock_shutdown"(u32, u32) = errno::NOTSUP;
    }
    Ok(())
}

/// WASI answers an errno; a Proxy-Wasm status from the memory helpers can only be a bad pointer.
fn settle(caller: &mut Caller<'_>, answer: Answer<u32>) -> wasmtime::Result<u32> {
    match answer {
        Ok(errno) => Ok(errno),
        Err(Fault::Status(_)) => Ok(errno::FAULT),
        Err(fault) => Err(fatal(caller, fault)),
    }
}

/// stdout goes to the log as info, stderr as error; a newline at the end is dropped.
fn fd_write(caller: &mut Caller<'_>, fd: u32, iovecs: u32, count: u32, return_written: u32) -> Answer<u32> {
    let level = match fd {
        1 => LogLevel::Info,
        2 => LogLevel::Error,
        _ => return Ok(errno::BADF),
    };
    if count > MAX_IOVECS {
        return Ok(errno::INVAL);
    }
    let (guest, state) = memory::split(caller)?;
    let mut message = std::mem::take(&mut state.scratch);
    message.clear();
    let gathered = gather(state, guest, iovecs, count, &mut message);
    let answer = gathered.and_then(|()| {
        let written = u32::try_from(message.len()).unwrap_or(u32::MAX);
        memory::write(guest, return_written, &written.to_le_bytes())?;
        let line = message.strip_suffix(b"\n").unwrap_or(&message);
        if line.is_empty() { Ok(()) } else { log::emit(state, level, line) }
    });
    state.scratch = message;
    answer.map(|()| errno::SUCCESS)
}

/// Collects the buffers of one write. The log budget is checked before each copy: a thousand buffers may all be the
/// same sixteen megabytes.
fn gather(state: &mut HostState, guest: &[u8], iovecs: u32, count: u32, message: &mut Vec<u8>) -> Answer {
    let limit = state.scope.plugin.limits.log_bytes;
    for index in 0..count {
        let at = iovecs.checked_add(index * 8).ok_or(Status::InvalidMemoryAccess)?;
        let buffer = memory::read_u32(guest, at)?;
        let length = memory::read_u32(guest, at.saturating_add(4))?;
        let bytes = memory::slice(guest, buffer, length)?;
        if message.len() + bytes.len() > limit {
            // Too much for one callback whatever the log level: the same end as with `proxy_log`.
            state.charge(ByteBudget::Log, message.len() + bytes.len())?;
        }
        message.extend_from_slice(bytes);
    }
    Ok(())
}

fn clock_time_get(caller: &mut Caller<'_>, clock: u32, _precision: u64, return_time: u32) -> Answer<u32> {
    let environment = &caller.data().scope.plugin.environment;
    let now = match clock {
        0 => environment.realtime_nanoseconds(),
        1 => environment.monotonic_nanoseconds(),
        _ => return Ok(errno::NOTSUP),
    };
    memory::give(caller, return_time, now.to_le_bytes())?;
    Ok(errno::SUCCESS)
}

fn clock_res_get(caller: &mut Caller<'_>, clock: u32, return_resolution: u32) -> Answer<u32> {
    if clock > 1 {
        return Ok(errno::NOTSUP);
    }
    memory::give(caller, return_resolution, 1_u64.to_le_bytes())?;
    Ok(errno::SUCCESS)
}

/// Nothing ever waits: no event is reported, at once. Go's runtime wants success here.
fn poll_oneoff(
    caller: &mut Caller<'_>,
    _subscriptions: u32,
    _events: u32,
    _count: u32,
    return_events: u32,
) -> Answer<u32> {
    memory::give(caller, return_events, 0_u32.to_le_bytes())?;
    Ok(errno::SUCCESS)
}

fn random_get(caller: &mut Caller<'_>, buffer: u32, length: u32) -> Answer<u32> {
    if length > MAX_RANDOM_BYTES {
        return Ok(errno::INVAL);
    }
    let (guest, state) = memory::split(caller)?;
    state.scope.plugin.environment.random(memory::slice_mut(guest, buffer, length)?);
    Ok(errno::SUCCESS)
}

fn two_zeros(caller: &mut Caller<'_>, return_count: u32, return_bytes: u32) -> Answer<u32> {
    memory::give(caller, return_count, 0_u32.to_le_bytes())?;
    memory::give(caller, return_bytes, 0_u32.to_le_bytes())?;
    Ok(errno::SUCCESS)
}

/// stdout and stderr can be written (right 64, `fd_write`) and nothing else.
fn fd_fdstat_get(caller: &mut Caller<'_>, fd: u32, return_stat: u32) -> Answer<u32> {
    if fd != 1 && fd != 2 {
        return Ok(errno::BADF);
    }
    let mut stat = [0_u8; 24];
    stat[8] = 64;
    memory::give(caller, return_stat, stat)?;
    Ok(errno::SUCCESS)
}
