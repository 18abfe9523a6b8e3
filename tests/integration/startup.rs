//! The start: what is made, what is refused, and what is served on nothing but defaults.

use crate::support::edge::{binary, run};
use crate::support::{Config, Edge, Request, Upstream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

/// Runs a server that is expected to refuse to start.
fn refused(config: &Config, env: &[(&str, &str)]) -> Output {
    let data = tempfile::tempdir().unwrap();
    let file = config.write(data.path());
    start(&file, env)
}

fn start(file: &std::path::Path, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary());
    command.arg("--config").arg(file).env_clear().envs(env.iter().copied());
    command.output().unwrap()
}

fn told(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "it must not start");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn the_signing_key_is_made_once_and_is_nobody_elses_to_read() {
    let theia = Upstream::echo().await;
    let config = Config::standard(theia.address);
    let edge = Edge::start(&config).await;
    let key = edge.data().path().join("signing.key");
    let made = std::fs::read(&key).unwrap();
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let ada = edge.register("ada@example.com").await;
    let edge = Edge::start_on(edge.stop().await, &config).await;
    assert!(std::fs::read(&key).unwrap() == made, "a restart keeps the key");
    assert_eq!(edge.get_as(&ada, "/api/v5/sessions").await.status, 200, "and the tokens it signed");
    edge.stop().await;
}

#[tokio::test]
async fn what_cannot_be_served_soundly_is_refused_at_once() {
    let theia = Upstream::echo().await;
    let config = Config::standard(theia.address);
    let weak = told(&refused(&config, &[("JWT_SECRET", "hunter2-hunter2")]));
    assert!(weak.contains("JWT_SECRET") && !weak.contains("hunter2"), "{weak}");
    let cluster = told(&refused(&config, &[("FDB_CLUSTER_FILE", "/etc/foundationdb/fdb.cluster")]));
    assert!(cluster.contains("FDB_CLUSTER_FILE"), "a backend that is not built is not ignored: {cluster}");
    assert!(cluster.contains("--features foundationdb"), "and it is said how to build it: {cluster}");
    let check =
        Command::new(binary()).arg("check").env_clear().env("FDB_CLUSTER_FILE", "fdb.cluster").output();
    let checked = told(&check.unwrap());
    assert!(checked.contains("--features foundationdb"), "`check` refuses what the start would: {checked}");
    let empty = told(&refused(&Config::empty(), &[]));
    assert!(empty.contains("routes"), "{empty}");

    let edge = Edge::start(&config).await;
    let second = told(&start(&edge.data().path().join("edge.toml"), &[]));
    assert!(second.contains("store.redb"), "one process holds the store: {second}");
    assert_eq!(edge.get("/api/v5/health").await.status, 200, "and the first is not disturbed");
}

#[test]
fn the_built_in_configuration_is_valid() {
    let output = run(&["check", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["valid"], &report["warnings"]), (&true.into(), &serde_json::json!([])), "{report}");
    let routes = report["routes"].as_array().unwrap().iter();
    let prefixes: Vec<_> = routes.map(|route| route["prefix"].as_str().unwrap()).collect();
    assert_eq!(prefixes.len(), 4, "{prefixes:?}");
    for prefix in ["/api/v5", "/api/v5/sessions/{id}/terminals", "/theia", "/"] {
        assert!(prefixes.contains(&prefix), "{prefix} is not among {prefixes:?}");
    }
}

#[tokio::test]
async fn the_built_in_console_is_served_whole() {
    let theia = Upstream::echo().await;
    let edge = Edge::start(&Config::standard(theia.address)).await;
    let index = edge.get("/").await;
    assert_eq!((index.status, index.header("cache-control")), (200, Some("no-cache")));
    let page = index.text();
    let named = page.split('"').filter(|part| part.trim_start_matches('.').starts_with("/assets/"));
    let assets: Vec<_> = named.map(|part| part.trim_start_matches('.')).collect();
    assert!(assets.len() >= 2, "a script and a style in {page}");
    for asset in assets {
        let request = || Request::get(asset);
        let plain = edge.send(request()).await;
        assert_eq!((plain.status, plain.body.is_empty()), (200, false), "{asset}");
        let cached = plain.header("cache-control").unwrap_or_default();
        assert!(cached.contains("immutable"), "{asset}: {cached}");
        let head = edge.send(Request::new("HEAD", asset)).await;
        assert_eq!(head.header("content-length"), plain.header("content-length"), "{asset}");
        if asset.ends_with(".js") {
            let packed = edge.send(request().header("accept-encoding", "gzip")).await;
            assert_eq!(packed.header("content-encoding"), Some("gzip"), "{asset}");
            assert!(packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() < plain.body.len());
        }
    }
    let deep = edge.send(Request::get("/workspaces/1").header("accept", "text/html")).await;
    assert_eq!((deep.status, deep.text()), (200, page), "a page of the application is the application");
    assert_eq!(edge.get("/workspaces/1").await.status, 404, "for navigations only");
}
