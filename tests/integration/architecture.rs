//! Rules about the code itself: who imports whom, where each library stays, what every file begins with.

use crate::support::edge::project;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of our crates each may import. `coditect-edge` and `coditect-tests` may import all.
const MAY_IMPORT: [(&str, &[&str]); 9] = [
    ("coditect-config", &[]),
    ("coditect-auth", &[]),
    ("coditect-proxy-wasm", &[]),
    ("coditect-plugin-tools", &["coditect-proxy-wasm"]),
    ("coditect-proxy-wasm-fuzz", &["coditect-proxy-wasm"]),
    ("coditect-store", &["coditect-config", "coditect-auth"]),
    ("coditect-terminal", &["coditect-config", "coditect-auth", "coditect-store"]),
    ("coditect-api", &["coditect-config", "coditect-auth", "coditect-store"]),
    ("coditect-proxy", &["coditect-config", "coditect-auth", "coditect-proxy-wasm"]),
];
/// Libraries whose types stay in one crate.
const STAYS_IN: [(&str, &str); 5] = [
    ("pingora", "coditect-proxy"),
    ("wasmtime", "coditect-proxy-wasm"),
    ("axum", "coditect-api"),
    ("redb", "coditect-store"),
    ("foundationdb", "coditect-store"),
];
/// The most lines a source file may have.
const MAX_LINES: usize = 500;

/// By crate of the workspace, the names of what it depends on, tests and build scripts included.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--locked", "--format-version=1"])
        .current_dir(project())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    packages
        .iter()
        .map(|p| (name(p), p["dependencies"].as_array().unwrap().iter().map(name).collect()))
        .collect()
}

#[test]
fn crates_import_only_what_the_layout_allows() {
    let found = dependencies();
    let known: BTreeSet<_> = MAY_IMPORT.iter().map(|(name, _)| (*name).to_owned()).collect();
    let ours: BTreeSet<_> = found.keys().filter(|name| name.starts_with("coditect-")).cloned().collect();
    let free = BTreeSet::from(["coditect-edge".to_owned(), "coditect-tests".to_owned()]);
    assert_eq!(ours, known.union(&free).cloned().collect(), "a crate that no rule speaks of");
    for (name, allowed) in MAY_IMPORT {
        let imports: Vec<_> = found[name].iter().filter(|import| import.starts_with("coditect-")).collect();
        let forbidden: Vec<_> = imports.iter().filter(|import| !allowed.contains(&import.as_str())).collect();
        assert!(forbidden.is_empty(), "{name} must not import {forbidden:?}");
    }
}

#[test]
fn each_library_stays_in_its_crate() {
    let found = dependencies();
    for (library, home) in STAYS_IN {
        let users: Vec<_> = found
            .iter()
            .filter(|(_, imports)| imports.contains(library))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(users, [home], "{library}");
    }
}

/// Every Rust file of the project, the guests' included.
fn sources() -> Vec<PathBuf> {
    fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name());
            let skipped = ["target", "node_modules"].contains(&name.to_string_lossy().as_ref());
            if entry.file_type().unwrap().is_dir() && !skipped && !name.to_string_lossy().starts_with('.') {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    collect(&project(), &mut files);
    assert!(files.len() > 100, "the project has more files than {}", files.len());
    files
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|file| !std::fs::read_to_string(file).unwrap().starts_with("//! "))
        .collect();
    assert!(silent.is_empty(), "these do not begin with `//!`: {silent:#?}");
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<_> = sources()
        .into_iter()
        .filter(|file| std::fs::read_to_string(file).unwrap().lines().count() > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "these have more than {MAX_LINES} lines: {long:#?}");
}

/// One command tests everything: the README names it, continuous integration calls it and nothing else.
#[test]
fn there_is_one_test_command() {
    let read = |file: &str| std::fs::read_to_string(project().join(file)).unwrap();
    let readme = read("README.md");
    let commands =
        readme.split("```sh").nth(1).and_then(|rest| rest.split("```").next()).expect("two commands");
    let commands: Vec<_> =
        commands.trim().lines().map(|line| line.split(" #").next().unwrap().trim()).collect();
    assert_eq!(commands, ["cargo run --release", "tests/run"]);
    let ci = read(".ci/run");
    let calls: Vec<_> = ci
        .lines()
        .map(str::trim)
        .filter(|line| {
            !line.is_empty()
                && !line.starts_with('#')
                && !line.starts_with("set ")
                && !line.starts_with("cd ")
        })
        .collect();
    assert_eq!(calls, ["tests/run"]);
}
