//! `[store]`: where state lives, from the file as written.

use crate::Environment;
use crate::checker::Checker;
use crate::raw::{self, Opt};
use crate::typed::{FoundationDbConfig, StoreConfig};
use std::path::PathBuf;
use std::time::Duration;

/// The longest root prefix, in bytes: it is part of every key.
const MAX_ROOT_BYTES: usize = 64;

/// Reads `[store]`.
pub(crate) fn store(check: &mut Checker<'_>, raw: &raw::Store, environment: &Environment) -> StoreConfig {
    let path = check.text(&raw.path, "data/store.redb", "store.path");
    StoreConfig {
        root: root(check, &raw.root),
        socket: check.path(&raw.socket, &format!("{path}.sock"), "store.socket"),
        path: path.into(),
        foundationdb: foundationdb(check, &raw.foundationdb, environment),
    }
}

fn root(check: &mut Checker<'_>, written: &Opt<String>) -> String {
    let root = check.text(written, "coditect", "store.root");
    if let Some(at) = written
        && !(root.len() <= MAX_ROOT_BYTES && root.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        let message = format!(
            "`{}` is no key prefix, expected 1 to {MAX_ROOT_BYTES} printable ASCII characters",
            root.escape_debug()
        );
        check.problem(at, "store.root", message);
    }
    root
}

fn foundationdb(
    check: &mut Checker<'_>,
    raw: &raw::FoundationDb,
    environment: &Environment,
) -> FoundationDbConfig {
    let named = environment.cluster_file.clone().filter(|file| !file.as_os_str().is_empty());
    let configured = path(check, &raw.cluster_file, "store.foundationdb.cluster_file");
    let timeout = check.number(
        &raw.transaction_timeout_ms,
        5000,
        100..=60_000,
        "store.foundationdb.transaction_timeout_ms",
    );
    FoundationDbConfig {
        cluster_file: named.or(configured),
        transaction_timeout: Duration::from_millis(timeout),
        connect_timeout: check.seconds(
            &raw.connect_timeout_seconds,
            60,
            1..=3600,
            "store.foundationdb.connect_timeout_seconds",
        ),
        trace_dir: path(check, &raw.trace_dir, "store.foundationdb.trace_dir"),
        tls_cert: path(check, &raw.tls_cert, "store.foundationdb.tls_cert"),
        tls_key: path(check, &raw.tls_key, "store.foundationdb.tls_key"),
        tls_ca: path(check, &raw.tls_ca, "store.foundationdb.tls_ca"),
        tls_verify_peers: text(check, &raw.tls_verify_peers, "store.foundationdb.tls_verify_peers"),
    }
}

/// A text that may be left out, but not empty.
fn text(check: &mut Checker<'_>, value: &Opt<String>, key: &str) -> Option<String> {
    value.as_ref().map(|_| check.text(value, "", key))
}

/// A path that may be left out, but not empty.
fn path(check: &mut Checker<'_>, value: &Opt<String>, key: &str) -> Option<PathBuf> {
    text(check, value, key).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::{Environment, StoreConfig, parse};
    use std::path::Path;
    use std::time::Duration;

    const ROUTE: &str = "[[routes]]\nprefix = \"/\"\nlocal = \"console\"\nauth = \"public\"\n";

    fn store(section: &str, environment: &Environment) -> Result<StoreConfig, String> {
        let config = parse(&format!("{section}\n{ROUTE}"), "edge.toml", environment);
        config.map(|config| config.store).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environments_cluster_file_wins_and_an_empty_one_is_none() {
        let section = "[store.foundationdb]\ncluster_file = \"/etc/fdb.cluster\"";
        let cluster = |section: &str, variable: Option<&str>| {
            let environment = Environment { cluster_file: variable.map(Into::into), ..Default::default() };
            store(section, &environment).unwrap().foundationdb.cluster_file
        };
        assert_eq!(cluster("", None), None);
        assert_eq!(cluster("", Some("")), None);
        assert_eq!(cluster(section, None).as_deref(), Some(Path::new("/etc/fdb.cluster")));
        assert_eq!(cluster(section, Some("")).as_deref(), Some(Path::new("/etc/fdb.cluster")));
        assert_eq!(cluster(section, Some("/run/c")).as_deref(), Some(Path::new("/run/c")));
    }

    #[test]
    fn every_key_of_foundationdb_is_taken() {
        let section = "[store]\nroot = \"ide/2\"\n[store.foundationdb]\ntransaction_timeout_ms = 100\n\
             connect_timeout_seconds = 3\ntrace_dir = \"t\"\ntls_cert = \"c\"\ntls_key = \"k\"\ntls_ca = \"a\"\n\
             tls_verify_peers = \"Check.Valid=1\"";
        let store = store(section, &Environment::default()).unwrap();
        assert_eq!(store.root, "ide/2");
        let fdb = store.foundationdb;
        assert_eq!(fdb.transaction_timeout, Duration::from_millis(100));
        assert_eq!(fdb.connect_timeout, Duration::from_secs(3));
        let paths = [&fdb.trace_dir, &fdb.tls_cert, &fdb.tls_key, &fdb.tls_ca];
        assert_eq!(paths.map(|path| path.as_deref()), ["t", "c", "k", "a"].map(|path| Some(Path::new(path))));
        assert_eq!(fdb.tls_verify_peers.as_deref(), Some("Check.Valid=1"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_key() {
        let long = "r".repeat(65);
        for (section, told) in [
            ("[store]\nroot = \"\"", "edge.toml:2: store.root: is empty".to_owned()),
            ("[store]\nroot = \"a\\u0000b\"", "edge.toml:2: store.root: `a\\0b` is no key prefix".to_owned()),
            (&format!("[store]\nroot = \"{long}\""), format!("store.root: `{long}` is no key prefix")),
            (
                "[store.foundationdb]\ncluster_file = \" \"",
                "edge.toml:2: store.foundationdb.cluster_file: is empty".to_owned(),
            ),
            (
                "[store.foundationdb]\ntransaction_timeout_ms = 99",
                "store.foundationdb.transaction_timeout_ms: 99 is out of range".to_owned(),
            ),
            (
                "[store.foundationdb]\nconnect_timeout_seconds = 0",
                "store.foundationdb.connect_timeout_seconds: 0 is out of range".to_owned(),
            ),
            ("[store.foundationdb]\ntls_password = \"x\"", "unknown field `tls_password`".to_owned()),
        ] {
            let error = store(section, &Environment::default()).unwrap_err();
            assert!(error.contains(&told), "{told} in {error}");
        }
    }
}
