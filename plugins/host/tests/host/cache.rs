//! The cache of compiled modules on disk: what is found again, what is not trusted, and what goes.

use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime};

use coditect_proxy_wasm::{CheckDepth, Engine, EngineSettings, Meter, PluginConfig};

use crate::guest::Guest;
use crate::world::engine_with;

/// A module unlike the others.
fn module(number: u32) -> Vec<u8> {
    let body = format!("(call $report (i32.const {number})) (i32.const 0)");
    Guest::new().on("proxy_on_request_headers", &body).wasm()
}

fn settings(cache: &Path) -> EngineSettings {
    EngineSettings { max_instances: 4, cache_dir: Some(cache.to_owned()), ..EngineSettings::default() }
}

/// Loads modules in a new engine; how many it compiled and how many it found.
fn load(settings: EngineSettings, numbers: std::ops::Range<u32>) -> (u64, u64) {
    let (engine, _) = engine_with(settings);
    for number in numbers {
        engine.load(PluginConfig::new("p", module(number))).expect("it loads, whatever the cache does");
    }
    (engine.stats().modules_compiled, engine.stats().modules_from_cache)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn a_second_engine_compiles_nothing() {
    let parent = temporary();
    let folder = parent.path().join("made/by/the/cache");
    assert_eq!(load(settings(&folder), 0..20), (20, 0));
    assert_eq!((files(&folder).len(), mode(&folder)), (20, 0o700));
    assert!(files(&folder).iter().all(|file| mode(file) == 0o600), "{:?}", files(&folder));
    assert_eq!(load(settings(&folder), 0..20), (0, 20));
    assert_eq!(load(settings(&folder), 19..21), (1, 1));
}

#[test]
fn a_module_from_the_cache_runs() {
    let folder = temporary();
    for _ in 0..2 {
        let (engine, world) = engine_with(settings(folder.path()));
        let plugin = engine.load(PluginConfig::new("p", module(4711))).unwrap();
        crate::world::exchange(&plugin, &crate::world::http());
        assert_eq!(world.reports(), [4711]);
    }
}

#[test]
fn another_compiler_s_code_is_not_found() {
    let folder = temporary();
    assert_eq!(load(settings(folder.path()), 0..1), (1, 0));
    let other = EngineSettings { meter: Meter::Fuel, ..settings(folder.path()) };
    assert_eq!(load(other.clone(), 0..1), (1, 0));
    assert_eq!(load(other, 0..1), (0, 1));
    assert_eq!(load(settings(folder.path()), 0..1), (0, 1));
}

#[test]
fn what_is_only_checked_is_not_kept() {
    let folder = temporary();
    let (engine, _) = engine_with(settings(folder.path()));
    engine.check(PluginConfig::new("p", module(0)), CheckDepth::Configured).unwrap();
    assert_eq!((files(folder.path()).len(), engine.stats().modules_compiled), (0, 1));
    engine.load(PluginConfig::new("p", module(0))).unwrap();
    engine.check(PluginConfig::new("p", module(0)), CheckDepth::Configured).unwrap();
    let stats = engine.stats();
    assert_eq!((stats.modules_compiled, stats.modules_from_cache), (2, 1), "but a check looks there");
}

#[test]
fn a_module_that_does_not_fit_the_host_is_not_kept() {
    let folder = temporary();
    let (engine, _) = engine_with(settings(folder.path()));
    let no_marker = wat::parse_str("(module (memory (export \"memory\") 1))").unwrap();
    assert!(engine.load(PluginConfig::new("p", no_marker)).is_err());
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

/// Does something to the file of a module, then loads that module twice in new engines: the first one removes the file,
/// compiles, and writes a good one, which the second one takes.
fn distrusted(what: &str, change: impl FnOnce(&Path)) {
    let folder = temporary();
    assert_eq!(load(settings(folder.path()), 0..1), (1, 0));
    let file = files(folder.path()).remove(0);
    change(&file);
    let (engine, _) = engine_with(settings(folder.path()));
    engine.load(PluginConfig::new("p", module(0))).expect(what);
    let stats = engine.stats();
    let counts = (stats.modules_compiled, stats.modules_from_cache, stats.cache_files_rejected);
    assert_eq!(counts, (1, 0, 1), "{what}");
    let metadata = fs::symlink_metadata(&file).expect("a new file");
    assert!(metadata.is_file() && mode(&file) == 0o600, "{what}: {metadata:?}");
    assert_eq!(load(settings(folder.path()), 0..1), (0, 1), "{what}: the new file is good");
}

#[test]
fn what_is_damaged_foreign_or_open_to_others_is_replaced() {
    let change_byte = |file: &Path, at: u64| {
        let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    };
    for at in [0, 20, 60, 80, 4096] {
        distrusted(&format!("byte {at} changed"), |file| change_byte(file, at));
    }
    let last = |file: &Path| fs::metadata(file).unwrap().len() - 1;
    distrusted("its last byte changed", |file| change_byte(file, last(file)));
    distrusted("cut off", |file| {
        OpenOptions::new().write(true).open(file).unwrap().set_len(last(file)).unwrap();
    });
    distrusted("empty", |file| drop(File::create(file).unwrap()));
    distrusted("group-writable", |file| fs::set_permissions(file, Permissions::from_mode(0o620)).unwrap());
    distrusted("world-writable", |file| fs::set_permissions(file, Permissions::from_mode(0o602)).unwrap());
    let elsewhere = temporary();
    distrusted("a second name", |file| fs::hard_link(file, elsewhere.path().join("x")).unwrap());
    distrusted("a symbolic link", |file| {
        fs::rename(file, elsewhere.path().join("target")).unwrap();
        symlink(elsewhere.path().join("target"), file).unwrap();
    });
    distrusted("a folder", |file| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    });
    distrusted("another module's", |file| {
        let other = temporary();
        load(settings(other.path()), 1..2);
        fs::copy(files(other.path()).remove(0), file).unwrap();
    });
    if fs::write(elsewhere.path().join("probe"), "")
        .and_then(|()| chown(elsewhere.path().join("probe"), Some(1), None))
        .is_ok()
    {
        distrusted("another user's", |file| chown(file, Some(1), None).unwrap());
    }
    distrusted("too large", |file| {
        OpenOptions::new().write(true).open(file).unwrap().set_len(1 << 40).unwrap();
    });
}

/// Loads a module while the cache is unusable: it is compiled, and the failure is counted.
fn unusable(what: &str, cache: &Path) {
    let (engine, _) = engine_with(settings(cache));
    engine.load(PluginConfig::new("p", module(0))).expect(what);
    let stats = engine.stats();
    assert_eq!((stats.modules_compiled, stats.modules_from_cache), (1, 0), "{what}");
    assert!(stats.cache_failures > 0, "{what}");
}

#[test]
fn a_cache_that_cannot_be_used_costs_a_compilation_and_no_plugin() {
    let parent = temporary();
    let open = parent.path().join("open");
    fs::create_dir(&open).unwrap();
    load(settings(&open), 0..1);
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    unusable("others can write the folder", &open);
    assert_eq!(mode(&open), 0o777, "its mode is not the cache's to change");
    let foreign = parent.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    // Only root can give a folder away.
    if chown(&foreign, Some(1), None).is_ok() {
        unusable("another user's folder", &foreign);
    }
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    unusable("a file in the folder's place", &file);
    unusable("a file in the path", &file.join("below"));
    let small = EngineSettings { cache_bytes: 1000, ..settings(&parent.path().join("small")) };
    assert_eq!(load(small, 0..1), (1, 0), "a module larger than the cache");
    assert!(files(&parent.path().join("small")).is_empty());
}

/// Sets when a file was last used, in seconds before now.
fn used(file: &Path, seconds_ago: u64) {
    let at = SystemTime::now() - Duration::from_secs(seconds_ago);
    File::open(file).unwrap().set_times(FileTimes::new().set_modified(at)).unwrap();
}

#[test]
fn the_longest_unused_make_room() {
    let folder = temporary();
    load(settings(folder.path()), 0..1);
    let first = files(folder.path()).remove(0);
    load(settings(folder.path()), 1..2);
    let second = files(folder.path()).into_iter().find(|file| *file != first).unwrap();
    let foreign = folder.path().join("notes.txt");
    let [abandoned, young] = ["0a.tmp", "0b.tmp"].map(|name| folder.path().join(name));
    for file in [&foreign, &abandoned, &young] {
        fs::write(file, "x").unwrap();
    }
    used(&abandoned, 2 * 3600);
    used(&foreign, 9 * 3600);
    used(&first, 3000);
    used(&second, 2000);
    assert_eq!(load(settings(folder.path()), 0..1), (0, 1), "the first one is used");
    let size = fs::metadata(&first).unwrap().len();
    let room_for_two = EngineSettings { cache_bytes: 5 * size / 2, ..settings(folder.path()) };
    assert_eq!(load(room_for_two.clone(), 2..3), (1, 0));
    assert!(first.exists() && !second.exists(), "the second one was unused for longest");
    assert!(foreign.exists() && young.exists() && !abandoned.exists());
    assert_eq!(load(room_for_two, 2..3), (0, 1), "the new one stayed");
}

#[test]
fn threads_that_want_one_module_compile_it_once() {
    const THREADS: usize = 4;
    let (engine, _) = engine_with(EngineSettings { max_instances: 8, ..EngineSettings::default() });
    let barrier = Barrier::new(THREADS);
    let load = |engine: &Engine| {
        barrier.wait();
        engine.load(PluginConfig::new("p", module(0))).expect("it loads")
    };
    let plugins: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| load(&engine))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!((plugins.len(), engine.stats().modules_compiled), (THREADS, 1));
}
