//! From the file as written to a configuration that can be run; all problems are collected before any is reported.

use crate::checker::Checker;
use crate::problem::ConfigError;
use crate::raw::{self, At, Raw};
use crate::typed::{
    AuditConfig, AuthConfig, Config, FilesConfig, LimitsConfig, Password, Rate, Sandbox, ServerConfig,
    StoreConfig, TerminalConfig, Throttle, UpstreamConfig, UpstreamProtocol,
};
use crate::{Environment, plugins, routes, store};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Half of what the edge calls one upstream with at once: the rest is other tenants'.
const MAX_CALLS_PER_TENANT: i64 = 256;

/// Validates what was read.
pub(crate) fn validate(
    raw: Raw,
    text: &str,
    file: &str,
    environment: &Environment,
) -> Result<Config, ConfigError> {
    let mut check = Checker::new(text, file);
    let upstreams: Vec<_> = raw.upstreams.iter().map(|(name, raw)| upstream(&mut check, name, raw)).collect();
    let plugins = plugins::plugins(&mut check, &raw.plugins, &upstreams);
    let server = server(&mut check, &raw.server, environment);
    let store = store::store(&mut check, &raw.store, environment);
    let config = Config {
        server,
        audit: audit(&mut check, &raw.audit, &store),
        plugin_host: plugins::host(&mut check, &raw.plugin_host, &upstreams, &store),
        plugin_chain: plugins::uses(&mut check, &raw.plugin_chain, "plugin_chain", &plugins),
        store,
        auth: auth(&mut check, &raw.auth),
        limits: limits(&mut check, &raw.limits),
        files: files(&mut check, &raw.files),
        terminal: terminal(&mut check, &raw.terminal),
        routes: routes::routes(&mut check, &raw.routes, &upstreams, &plugins),
        upstreams,
        plugins,
        warnings: std::mem::take(&mut check.warnings),
    };
    check.verdict().map(|()| config)
}

fn server(check: &mut Checker<'_>, raw: &raw::Server, environment: &Environment) -> ServerConfig {
    let mut http = check.socket(&raw.http, SocketAddr::from(([127, 0, 0, 1], 8080)), "server.http");
    if let Some(host) = &environment.host {
        match host.parse::<IpAddr>() {
            Ok(ip) => http.set_ip(ip),
            Err(_) => check.problem_without_line(
                "HOST",
                format!("`{host}` is no IP address, expected one such as 0.0.0.0"),
            ),
        }
    }
    if let Some(port) = &environment.port {
        match port.parse::<u16>() {
            Ok(port) => http.set_port(port),
            Err(_) => check.problem_without_line("PORT", format!("`{port}` is no port, expected 0 to 65535")),
        }
    }
    let threads: usize = check.number(&raw.threads, 0, 0..=1024, "server.threads");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (allowed_origins, allow_own_origin) = origins(check, raw);
    ServerConfig {
        http,
        admin: check.socket(&raw.admin, SocketAddr::from(([127, 0, 0, 1], 9090)), "server.admin"),
        threads: if threads == 0 { cores } else { threads },
        max_connections: check.number(&raw.max_connections, 20_000, 1..=1_000_000, "server.max_connections"),
        access_log: raw.access_log.unwrap_or(true),
        drain: check.seconds(&raw.drain_seconds, 25, 0..=3600, "server.drain_seconds"),
        client_timeout: check.seconds(
            &raw.client_timeout_seconds,
            60,
            1..=3600,
            "server.client_timeout_seconds",
        ),
        keepalive: check.seconds(&raw.keepalive_seconds, 60, 1..=3600, "server.keepalive_seconds"),
        allowed_origins,
        allow_own_origin,
        trusted_proxies: trusted_proxies(check, raw),
        workspace_host: workspace_host(check, raw),
    }
}

fn workspace_host(check: &mut Checker<'_>, raw: &raw::Server) -> Option<String> {
    let at = raw.workspace_host.as_ref()?;
    let host = at.get_ref().to_ascii_lowercase();
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if host.is_empty() || !host.bytes().all(name) {
        let message =
            format!("`{host}` is no host name, expected one without a port, such as ide.coditect.ai");
        check.problem(at, "server.workspace_host", message);
    }
    Some(host)
}

fn origins(check: &mut Checker<'_>, raw: &raw::Server) -> (Vec<String>, bool) {
    let Some(written) = &raw.allowed_origins else { return (Vec::new(), true) };
    let mut own = false;
    let mut origins = Vec::new();
    for (index, at) in written.iter().enumerate() {
        if at.get_ref() == "self" {
            own = true;
            continue;
        }
        match url::Url::parse(at.get_ref()) {
            Ok(url)
                if matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none() =>
            {
                origins.push(url.origin().ascii_serialization());
            }
            _ => check.problem(
                at,
                &format!("server.allowed_origins[{index}]"),
                format!(
                    "`{}` is no origin, expected \"self\" or one such as https://coditect.ai",
                    at.get_ref()
                ),
            ),
        }
    }
    (origins, own)
}

fn trusted_proxies(check: &mut Checker<'_>, raw: &raw::Server) -> Vec<ipnet::IpNet> {
    let mut nets = Vec::new();
    for (index, at) in raw.trusted_proxies.iter().flatten().enumerate() {
        let written = at.get_ref();
        match written.parse().or_else(|_| written.parse::<IpAddr>().map(ipnet::IpNet::from)) {
            Ok(net) => nets.push(net),
            Err(_) => check.problem(
                at,
                &format!("server.trusted_proxies[{index}]"),
                format!("`{written}` is no network, expected one such as 10.0.0.0/8"),
            ),
        }
    }
    nets
}

fn audit(check: &mut Checker<'_>, raw: &raw::Audit, store: &StoreConfig) -> AuditConfig {
    let key_file = match &raw.key_file {
        Some(_) => check.path(&raw.key_file, "", "audit.key_file"),
        None => store.path.with_file_name("audit.key"),
    };
    AuditConfig { key_file }
}

fn auth(check: &mut Checker<'_>, raw: &raw::Auth) -> AuthConfig {
    let config = AuthConfig {
        key_file: check.path(&raw.key_file, "data/signing.key", "auth.key_file"),
        key_set: raw.key_set.as_ref().map(|_| check.path(&raw.key_set, "", "auth.key_set")),
        issuer: check.text(&raw.issuer, "coditect.ai", "auth.issuer"),
        audience: check.text(&raw.audience, "coditect-users", "auth.audience"),
        access_token_seconds: check.number(
            &raw.access_token_seconds,
            3600,
            10..=86_400,
            "auth.access_token_seconds",
        ),
        family_seconds: check.number(&raw.family_seconds, 2_592_000, 60..=31_536_000, "auth.family_seconds"),
        refresh_grace_seconds: check.number(
            &raw.refresh_grace_seconds,
            20,
            0..=300,
            "auth.refresh_grace_seconds",
        ),
        operator_tenant: raw.operator_tenant.as_ref().and_then(|at| match at.get_ref().parse() {
            Ok(tenant) => Some(tenant),
            Err(_) => {
                check.problem(at, "auth.operator_tenant", "is not a UUID, expected a tenant's id");
                None
            }
        }),
        password: password(check, &raw.password),
        throttle: throttle(check, &raw.throttle),
    };
    if let Some(at) = &raw.audience
        && at.get_ref().starts_with("coditect-")
        && ["coditect-refresh", "coditect-workspace", "coditect-last-workspace", "coditect-ticket"]
            .contains(&at.get_ref().as_str())
    {
        check.problem(at, "auth.audience", "is an audience the edge uses itself, expected another");
    }
    if let (Some(at), Some(set)) = (&raw.key_set, &config.key_set)
        && *set == config.key_file
    {
        check.problem(at, "auth.key_set", "is the same file as auth.key_file, expected one of its own");
    }
    config
}

fn files(check: &mut Checker<'_>, raw: &raw::Files) -> FilesConfig {
    FilesConfig {
        quota_bytes_per_tenant: check.number(
            &raw.quota_bytes_per_tenant,
            10_737_418_240,
            0..=i64::MAX,
            "files.quota_bytes_per_tenant",
        ),
        quota_files_per_tenant: check.number(
            &raw.quota_files_per_tenant,
            1_000_000,
            0..=i64::MAX,
            "files.quota_files_per_tenant",
        ),
    }
}

fn password(check: &mut Checker<'_>, raw: &raw::Password) -> Password {
    // The floor is OWASP's least for Argon2id with t = 2, p = 1; tests that register many users need a lower one,
    // which `check` warns about.
    let memory_kib = check.number(&raw.memory_kib, 19_456, 64..=1_048_576, "auth.password.memory_kib");
    if memory_kib < 19_456 {
        check.warnings.push(format!(
            "auth.password.memory_kib: {memory_kib} is below 19456 (19 MiB), OWASP's least for Argon2id"
        ));
    }
    Password {
        memory_kib,
        iterations: check.number(&raw.iterations, 2, 1..=100, "auth.password.iterations"),
        parallelism: check.number(&raw.parallelism, 1, 1..=16, "auth.password.parallelism"),
        workers: check.number(&raw.workers, 2, 1..=64, "auth.password.workers"),
        queue: check.number(&raw.queue, 64, 0..=10_000, "auth.password.queue"),
    }
}

fn limits(check: &mut Checker<'_>, raw: &raw::Limits) -> LimitsConfig {
    LimitsConfig {
        workspaces_per_user: check.number(
            &raw.workspaces_per_user,
            100,
            1..=1000,
            "limits.workspaces_per_user",
        ),
    }
}

fn throttle(check: &mut Checker<'_>, raw: &raw::Throttle) -> Throttle {
    let mut number = |value: &_, default, least, key: &str| {
        check.number(value, default, least..=1_000_000, &format!("auth.throttle.{key}"))
    };
    Throttle {
        account: Rate {
            per_minute: number(&raw.per_account_per_minute, 6, 0, "per_account_per_minute"),
            burst: number(&raw.per_account_burst, 10, 1, "per_account_burst"),
        },
        address: Rate {
            per_minute: number(&raw.per_address_per_minute, 120, 0, "per_address_per_minute"),
            burst: number(&raw.per_address_burst, 240, 1, "per_address_burst"),
        },
    }
}

fn terminal(check: &mut Checker<'_>, raw: &raw::Terminal) -> TerminalConfig {
    let known = [("landlock", Sandbox::Landlock), ("off", Sandbox::Off)];
    let sandbox = check.one_of(&raw.sandbox, Sandbox::Landlock, &known, "terminal.sandbox");
    if sandbox == Sandbox::Off {
        let risk = "lets every shell read what the edge reads, its signing key included";
        check.warnings.push(format!("terminal.sandbox: off {risk}"));
    }
    TerminalConfig {
        sandbox,
        shell: check.path(&raw.shell, "/bin/bash", "terminal.shell"),
        workspace_root: check.path(&raw.workspace_root, "data/workspaces", "terminal.workspace_root"),
        max_per_session: check.number(&raw.max_per_session, 8, 1..=1000, "terminal.max_per_session"),
        max_per_user: check.number(&raw.max_per_user, 24, 1..=1000, "terminal.max_per_user"),
        max_total: check.number(&raw.max_total, 256, 1..=100_000, "terminal.max_total"),
        scrollback_bytes: check.number(
            &raw.scrollback_bytes,
            262_144,
            4096..=67_108_864,
            "terminal.scrollback_bytes",
        ),
        idle_after_exit_seconds: check.number(
            &raw.idle_after_exit_seconds,
            300,
            0..=86_400,
            "terminal.idle_after_exit_seconds",
        ),
    }
}

fn upstream(check: &mut Checker<'_>, name: &At<String>, raw: &raw::Upstream) -> UpstreamConfig {
    let key = format!("upstreams.{}", name.get_ref());
    let (host, port) = address(check, &raw.address, &format!("{key}.address"));
    UpstreamConfig {
        name: name.get_ref().clone(),
        host,
        port,
        protocol: protocol(check, &raw.protocol, &format!("{key}.protocol")),
        connect_timeout: Duration::from_millis(check.number(
            &raw.connect_timeout_ms,
            3000,
            1..=60_000,
            &format!("{key}.connect_timeout_ms"),
        )),
        response_timeout: check.seconds(
            &raw.response_timeout_seconds,
            120,
            1..=86_400,
            &format!("{key}.response_timeout_seconds"),
        ),
        keepalive: check.seconds(&raw.keepalive_seconds, 60, 1..=3600, &format!("{key}.keepalive_seconds")),
        calls_per_tenant: check.number(
            &raw.calls_per_tenant,
            128,
            1..=MAX_CALLS_PER_TENANT,
            &format!("{key}.calls_per_tenant"),
        ),
    }
}

fn protocol(check: &mut Checker<'_>, written: &raw::Opt<String>, key: &str) -> UpstreamProtocol {
    let known = [("http1", UpstreamProtocol::Http1), ("h2c", UpstreamProtocol::H2c)];
    check.one_of(written, UpstreamProtocol::Http1, &known, key)
}

fn address(check: &mut Checker<'_>, at: &At<String>, key: &str) -> (String, u16) {
    let expected = "expected one such as http://theia.coditect-app.svc.cluster.local:3000";
    let url = match url::Url::parse(at.get_ref()) {
        Ok(url) => url,
        Err(e) => {
            check.problem(at, key, format!("`{}` is no URL ({e}), {expected}", at.get_ref()));
            return Default::default();
        }
    };
    if url.scheme() == "https" {
        check.problem(at, key, "TLS to upstreams is not built yet, expected an http:// address");
    } else if url.scheme() != "http"
        || url.path() != "/"
        || url.query().is_some()
        || !url.username().is_empty()
    {
        check.problem(at, key, format!("`{}` is more or other than an address, {expected}", at.get_ref()));
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let named = host.parse::<IpAddr>().is_err() && host != "localhost";
    if named && !host.trim_end_matches('.').contains('.') {
        check.warnings.push(format!(
            "{key}: `{host}` is an unqualified name, which resolves only with the right search domain; \
             write it in full, such as {host}.NAMESPACE.svc.cluster.local"
        ));
    }
    (host, url.port_or_known_default().unwrap_or(80))
}
