//! Tests of reading and validating a configuration.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn problems(text: &str) -> Vec<String> {
    match parse(text, "edge.toml", &Environment::default()) {
        Err(ConfigError::Invalid(problems)) => problems.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
        Ok(_) => Vec::new(),
    }
}

const ROOT: &str = "[[routes]]\nprefix = \"/\"\nlocal = \"console\"\nauth = \"public\"\n";

#[test]
fn the_embedded_default_is_valid_and_says_what_code_says() {
    let embedded = load(None, &Environment::default()).unwrap();
    assert_eq!(embedded.routes.len(), 4);
    assert!(embedded.warnings.is_empty(), "{:?}", embedded.warnings);
    // Every default written in the file is the one that holds where the key is left out.
    let bare = parse(ROOT, "bare", &Environment::default()).unwrap();
    assert_eq!(format!("{:?}", embedded.server), format!("{:?}", bare.server));
    assert_eq!(format!("{:?}", embedded.auth), format!("{:?}", bare.auth));
    assert_eq!(format!("{:?}", embedded.store), format!("{:?}", bare.store));
    assert_eq!(format!("{:?}", embedded.terminal), format!("{:?}", bare.terminal));
    assert_eq!(embedded.plugin_host, bare.plugin_host);
}

#[test]
fn an_unknown_key_names_file_line_and_the_known_ones() {
    let found = problems(&format!("{ROOT}\n[server]\nhttpp = \"127.0.0.1:1\"\n"));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("edge.toml:7: server"), "{found:?}");
    assert!(found[0].contains("unknown field `httpp`") && found[0].contains("`admin`"), "{found:?}");
}

#[test]
fn all_problems_are_reported_at_once_each_with_its_line_and_key() {
    let text = "[server]\nhttp = \"nonsense\"\ndrain_seconds = -1\n[[routes]]\nprefix = \"api\"\nlocal = \"api\"\nauth = \"jwt\"\n\
                [[routes]]\nprefix = \"/x\"\nupstream = \"gone\"\nauth = \"maybe\"\n[[routes]]\nprefix = \"/y\"\nauth = \"jwt\"\n";
    let found = problems(text);
    for (line, key) in [
        (2, "server.http"),
        (3, "server.drain_seconds"),
        (5, "routes[0].prefix"),
        (10, "routes[1].upstream"),
        (11, "routes[1].auth"),
        (12, "routes[2]"),
    ] {
        let start = format!("edge.toml:{line}: {key}: ");
        assert!(
            found.iter().any(|p| p.starts_with(&start) && p.contains("expected")),
            "{start} in {found:#?}"
        );
    }
    assert_eq!(found.len(), 6, "{found:#?}");
}

#[test]
fn a_prefix_is_there_once_with_or_without_a_slash_at_the_end() {
    let found = problems(&format!(
        "{ROOT}[[routes]]\nprefix = \"/a\"\nlocal = \"api\"\nauth = \"jwt\"\n[[routes]]\nprefix = \"/a/\"\nlocal = \"api\"\nauth = \"jwt\"\n"
    ));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("routes[2].prefix"), "{found:?}");
}

#[test]
fn an_unqualified_upstream_name_is_a_warning_and_tls_an_error() {
    let with = |address: &str| format!("{ROOT}[upstreams.v2]\naddress = \"{address}\"\n");
    let config = parse(&with("http://coditect-api-v2:8080"), "edge.toml", &Environment::default()).unwrap();
    assert!(config.warnings[0].contains("unqualified"), "{:?}", config.warnings);
    assert!(
        parse(&with("http://v2.coditect-app.svc.cluster.local"), "e", &Environment::default())
            .unwrap()
            .warnings
            .is_empty()
    );
    assert!(problems(&with("https://example.com"))[0].contains("TLS to upstreams is not built yet"));
    let h2c = format!("{}protocol = \"h2c\"\n", with("https://example.com"));
    assert!(problems(&h2c)[0].contains("TLS to upstreams is not built yet"), "nor for calls of plugins");
    let h2 = format!("{}protocol = \"h2\"\n", with("http://example.com"));
    assert!(problems(&h2)[0].contains("upstreams.v2.protocol: `h2` is unknown"), "{:?}", problems(&h2));
    assert!(problems(&with("http://a/b"))[0].contains("more or other than an address"));
}

#[test]
fn a_tenant_s_share_of_calls_to_an_upstream_has_a_range() {
    let with = |share: &str| format!("{ROOT}[upstreams.v2]\naddress = \"http://localhost:1\"\n{share}");
    let share = |text: &str| {
        let config = parse(&with(text), "edge.toml", &Environment::default()).unwrap();
        config.upstreams.iter().find(|upstream| upstream.name == "v2").unwrap().calls_per_tenant
    };
    assert_eq!((share(""), share("calls_per_tenant = 7")), (128, 7));
    for wrong in ["0", "257"] {
        let problems = problems(&with(&format!("calls_per_tenant = {wrong}")));
        assert!(problems[0].contains("upstreams.v2.calls_per_tenant"), "{problems:?}");
    }
}

#[test]
fn host_and_port_of_the_environment_win() {
    let environment =
        Environment { host: Some("0.0.0.0".into()), port: Some("9000".into()), ..Default::default() };
    assert_eq!(parse(ROOT, "e", &environment).unwrap().server.http.to_string(), "0.0.0.0:9000");
    let wrong = Environment { host: None, port: Some("many".into()), ..Default::default() };
    assert!(parse(ROOT, "e", &wrong).unwrap_err().to_string().contains("PORT: `many` is no port"));
}

#[test]
fn a_plugin_use_names_a_plugin_and_tenants() {
    let text = format!("{ROOT}[[routes.plugins]]\nplugin = \"gone\"\n");
    assert!(problems(&text)[0].contains("expected a [plugins.gone]"));
    let text = format!(
        "[plugins.p]\nfile = \"p.wasm\"\n{ROOT}[[routes.plugins]]\nplugin = \"p\"\ntenants = [\"x\"]\n"
    );
    assert!(problems(&text)[0].contains("expected a UUID"));
}

/// The plugin that is explained in comments is valid once they are taken away, and states the defaults.
#[test]
fn the_plugin_in_the_embedded_comments_says_what_code_says() {
    let commented = |line: &str| line.strip_prefix("# ").unwrap_or_default().to_owned();
    let explained = EMBEDDED.lines().skip_while(|line| *line != "# [plugins.tenant-policy]");
    let explained: Vec<_> = explained.take_while(|line| line.starts_with('#')).map(commented).collect();
    let named = "[upstreams.keys]\naddress = \"http://localhost:1\"\n";
    let written = format!("{}\n{named}{ROOT}", explained.join("\n"));
    let written = parse(&written, "edge.toml", &Environment::default()).unwrap();
    let bare = format!("[plugins.p]\nfile = \"p.wasm\"\n{ROOT}");
    let bare = parse(&bare, "bare", &Environment::default()).unwrap();
    let (written, bare) = (&written.plugins[0], &bare.plugins[0]);
    assert_eq!((&written.limits, written.quarantine), (&bare.limits, bare.quarantine));
    assert_eq!((written.failure, written.log_level), (bare.failure, bare.log_level));
    assert_eq!(written.stop_iteration, bare.stop_iteration);
    assert!(written.configuration.starts_with('{'), "{written:?}");
}

#[test]
fn every_example_is_valid() {
    let mut count = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = entry.unwrap().path();
        load(Some(&path), &Environment::default()).unwrap_or_else(|e| panic!("{e}"));
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn a_key_set_is_off_unless_named_and_is_a_file_of_its_own() {
    let auth = |lines: &str| format!("{ROOT}\n[auth]\n{lines}\n");
    assert_eq!(parse(ROOT, "edge.toml", &Environment::default()).unwrap().auth.key_set, None);
    let named = parse(&auth("key_set = \"data/keys.json\""), "edge.toml", &Environment::default()).unwrap();
    assert_eq!(named.auth.key_set.as_deref(), Some(std::path::Path::new("data/keys.json")));
    for (lines, expected) in [
        ("key_set = \"\"", "edge.toml:7: auth.key_set: is empty, expected some text"),
        ("key_set = \"data/signing.key\"", "edge.toml:7: auth.key_set: is the same file as auth.key_file"),
        ("audience = \"coditect-ticket\"", "edge.toml:7: auth.audience: is an audience the edge uses itself"),
    ] {
        let found = problems(&auth(lines));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{lines}: {found:?}");
    }
}
