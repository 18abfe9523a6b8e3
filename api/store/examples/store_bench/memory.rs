//! What streaming one large blob takes: in a process of its own, since memory once used may not come back.

use std::path::Path;
use std::process::Command;

use crate::blobs;
use crate::ours::Ours;

/// The argument that makes this program the measured one.
pub(crate) const CHILD: &str = "--measure-memory-in";
/// The largest blob there is.
const SIZE: usize = 256 << 20;

/// Runs the measured process; returns a line for the table.
pub(crate) fn measure(directory: &Path) -> String {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).arg(CHILD).arg(directory.join("memory.redb")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Writes and reads a blob and prints how far memory grew at most.
pub(crate) fn child() {
    let path = std::env::args().nth(2).unwrap();
    let ours = Ours::open(Path::new(&path));
    let blobs = blobs::blobs(&ours);
    let before = peak_kib();
    let (written, read) = ours.runtime.block_on(async {
        let blob = blobs::write(&blobs, SIZE, 0).await;
        let written = peak_kib();
        assert_eq!(blobs::read(&blobs, &blob).await, SIZE as u64);
        (written, peak_kib())
    });
    println!(
        "memory for a blob of 256 MiB, above {:.1} MiB: writing {:.1} MiB, then reading {:.1} MiB (redb's cache included)",
        mebibytes(before),
        mebibytes(written - before),
        mebibytes(read - before),
    );
}

fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// The most resident memory this process has had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}
