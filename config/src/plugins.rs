//! Validation of plugins: `[plugins.NAME]`, what they share, and where they are used.

use crate::checker::Checker;
use crate::raw::{self, At, Opt};
use crate::typed::{
    FailureMode, PluginConfig, PluginHostConfig, PluginLimits, PluginLogLevel, PluginUse, Quarantine,
    StoreConfig, UpstreamConfig,
};
use serde::ser::{Error, Serialize, SerializeMap, SerializeSeq, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;
use toml::Value;

/// The most memory an instance can be given, in KiB: what the host reserves room for.
const MAX_MEMORY_KIB: i64 = 128 * 1024;
/// The most bytes any buffer of a plugin can be given, in KiB.
const MAX_BUFFER_KIB: i64 = 64 * 1024;
/// The most plugin instances: address space is reserved for each.
const MAX_INSTANCES: i64 = 10_000;

/// Reads every `[plugins.NAME]`.
pub(crate) fn plugins(
    check: &mut Checker<'_>,
    raw: &BTreeMap<At<String>, raw::Plugin>,
    upstreams: &[UpstreamConfig],
) -> Vec<PluginConfig> {
    raw.iter().map(|(name, raw)| plugin(check, name.get_ref(), raw, upstreams)).collect()
}

fn plugin(
    check: &mut Checker<'_>,
    name: &str,
    raw: &raw::Plugin,
    upstreams: &[UpstreamConfig],
) -> PluginConfig {
    let key = |name_of_key: &str| format!("plugins.{name}.{name_of_key}");
    let failures = [("closed", FailureMode::Closed), ("open", FailureMode::Open)];
    let levels = [
        ("trace", PluginLogLevel::Trace),
        ("debug", PluginLogLevel::Debug),
        ("info", PluginLogLevel::Info),
        ("warn", PluginLogLevel::Warn),
        ("error", PluginLogLevel::Error),
        ("critical", PluginLogLevel::Critical),
    ];
    let text = |value: &Opt<String>| value.as_ref().map(|at| at.get_ref().clone()).unwrap_or_default();
    PluginConfig {
        name: name.to_owned(),
        file: check.path(&Some(raw.file.clone()), "", &key("file")),
        configuration: configuration(check, &raw.config, &key("config")),
        root_id: text(&raw.root_id),
        vm_id: text(&raw.vm_id),
        vm_configuration: configuration(check, &raw.vm_config, &key("vm_config")),
        failure: check.one_of(&raw.failure, FailureMode::Closed, &failures, &key("failure")),
        log_level: check.one_of(&raw.log_level, PluginLogLevel::Info, &levels, &key("log_level")),
        stop_iteration: raw.stop_iteration.unwrap_or(false),
        upstreams: upstream_names(check, &raw.upstreams, upstreams, &key("upstreams")),
        limits: limits(check, raw, name),
        quarantine: quarantine(check, raw, name),
    }
}

fn limits(check: &mut Checker<'_>, raw: &raw::Plugin, name: &str) -> PluginLimits {
    let mut number = |value: &Opt<i64>, default, range, key: &str| -> u32 {
        check.number(value, default, range, &format!("plugins.{name}.{key}"))
    };
    let kib = |kib: u32| kib as usize * 1024;
    PluginLimits {
        callback_cpu: Duration::from_micros(
            number(&raw.callback_cpu_us, 1000, 100..=1_000_000, "callback_cpu_us").into(),
        ),
        start_cpu: Duration::from_millis(number(&raw.start_cpu_ms, 100, 1..=10_000, "start_cpu_ms").into()),
        memory_bytes: kib(number(&raw.memory_kib, 16 * 1024, 64..=MAX_MEMORY_KIB, "memory_kib")),
        instances_per_tenant: number(&raw.instances_per_tenant, 4, 1..=256, "instances_per_tenant") as usize,
        body_bytes: kib(number(&raw.body_kib, 1024, 1..=MAX_BUFFER_KIB, "body_kib")),
        calls_in_flight: number(&raw.calls_in_flight, 64, 0..=10_000, "calls_in_flight") as usize,
        calls_per_request: number(&raw.calls_per_request, 8, 0..=1000, "calls_per_request"),
        call_body_bytes: kib(number(&raw.call_body_kib, 1024, 1..=MAX_BUFFER_KIB, "call_body_kib")),
        queue_messages: number(&raw.queue_messages, 1024, 1..=1_000_000, "queue_messages") as usize,
        queue_bytes: kib(number(&raw.queue_kib, 1024, 1..=MAX_BUFFER_KIB, "queue_kib")),
        log_lines_per_second: number(&raw.log_lines_per_second, 100, 1..=1_000_000, "log_lines_per_second"),
        metrics: number(&raw.metrics, 256, 0..=10_000, "metrics") as usize,
    }
}

fn quarantine(check: &mut Checker<'_>, raw: &raw::Plugin, name: &str) -> Option<Quarantine> {
    let key = |name_of_key: &str| format!("plugins.{name}.{name_of_key}");
    let traps = check.number(&raw.quarantine_traps, 10, 0..=1000, &key("quarantine_traps"));
    let window =
        check.seconds(&raw.quarantine_window_seconds, 60, 1..=86_400, &key("quarantine_window_seconds"));
    (traps > 0).then_some(Quarantine { traps, window })
}

/// Reads `[plugin_host]`.
pub(crate) fn host(
    check: &mut Checker<'_>,
    raw: &raw::PluginHost,
    upstreams: &[UpstreamConfig],
    store: &StoreConfig,
) -> PluginHostConfig {
    let shared_data_kib: u32 =
        check.number(&raw.shared_data_kib, 1024, 1..=MAX_BUFFER_KIB, "plugin_host.shared_data_kib");
    PluginHostConfig {
        max_instances: check.number(&raw.max_instances, 1000, 1..=MAX_INSTANCES, "plugin_host.max_instances"),
        shared_data_bytes: shared_data_kib as usize * 1024,
        cache_dir: Some(match &raw.cache_dir {
            Some(_) => check.path(&raw.cache_dir, "", "plugin_host.cache_dir"),
            None => store.path.with_file_name("plugin-cache"),
        }),
        operator_upstreams: upstream_names(
            check,
            &raw.operator_upstreams,
            upstreams,
            "plugin_host.operator_upstreams",
        ),
        tenant_upstreams: upstream_names(
            check,
            &raw.tenant_upstreams,
            upstreams,
            "plugin_host.tenant_upstreams",
        ),
    }
}

/// The names of configured upstreams.
fn upstream_names(
    check: &mut Checker<'_>,
    written: &[At<String>],
    upstreams: &[UpstreamConfig],
    key: &str,
) -> Vec<String> {
    for (index, at) in written.iter().enumerate() {
        if !upstreams.iter().any(|upstream| &upstream.name == at.get_ref()) {
            let message = format!("`{0}` is not configured, expected an [upstreams.{0}]", at.get_ref());
            check.problem(at, &format!("{key}[{index}]"), message);
        }
    }
    written.iter().map(|at| at.get_ref().clone()).collect()
}

/// Reads a list of uses: of a route, or of all.
pub(crate) fn uses(
    check: &mut Checker<'_>,
    raw: &[At<raw::PluginUse>],
    key: &str,
    plugins: &[PluginConfig],
) -> Vec<PluginUse> {
    raw.iter()
        .enumerate()
        .filter_map(|(index, at)| plugin_use(check, at.get_ref(), &format!("{key}[{index}]"), plugins))
        .collect()
}

fn plugin_use(
    check: &mut Checker<'_>,
    raw: &raw::PluginUse,
    key: &str,
    plugins: &[PluginConfig],
) -> Option<PluginUse> {
    let name = raw.plugin.get_ref();
    if !plugins.iter().any(|plugin| &plugin.name == name) {
        let message = format!("`{name}` is not configured, expected a [plugins.{name}]");
        check.problem(&raw.plugin, &format!("{key}.plugin"), message);
        return None;
    }
    let tenants = raw.tenants.as_ref().map(|written| {
        let mut tenants = Vec::new();
        for (index, at) in written.iter().enumerate() {
            match at.get_ref().parse() {
                Ok(tenant) => tenants.push(tenant),
                Err(_) => {
                    let message = format!("`{}` is no tenant id, expected a UUID", at.get_ref());
                    check.problem(at, &format!("{key}.tenants[{index}]"), message);
                }
            }
        }
        tenants
    });
    let share = check.number(&raw.share_percent, 100, 1..=100, &format!("{key}.share_percent"));
    Some(PluginUse {
        plugin: name.clone(),
        tenants,
        share_percent: share,
        shadow: raw.shadow.unwrap_or(false),
    })
}

/// What a plugin reads: text as it is, a table as JSON.
fn configuration(check: &mut Checker<'_>, written: &Opt<Value>, key: &str) -> String {
    let Some(at) = written else { return String::new() };
    let json = match at.get_ref() {
        Value::String(text) => return text.clone(),
        Value::Table(_) => serde_json::to_string(&Json(at.get_ref())).map_err(|error| error.to_string()),
        other => Err(format!("is {} {}", article(other.type_str()), other.type_str())),
    };
    json.unwrap_or_else(|problem| {
        check.problem(
            at,
            key,
            format!("{problem}, expected text, or a table that can be handed over as JSON"),
        );
        String::new()
    })
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'i']) { "an" } else { "a" }
}

/// A value of TOML as JSON: keys in the order written, dates and times as strings.
struct Json<'a>(&'a Value);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) => serializer.serialize_str(text),
            Value::Integer(number) => serializer.serialize_i64(*number),
            Value::Float(number) if number.is_finite() => serializer.serialize_f64(*number),
            Value::Float(number) => Err(S::Error::custom(format!("holds {number}, which JSON has not"))),
            Value::Boolean(truth) => serializer.serialize_bool(*truth),
            Value::Datetime(time) => serializer.collect_str(time),
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(&Json(item)))?;
                list.end()
            }
            Value::Table(items) => {
                let mut object = serializer.serialize_map(Some(items.len()))?;
                items.iter().try_for_each(|(key, value)| object.serialize_entry(key, &Json(value)))?;
                object.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::typed::{FailureMode, PluginLogLevel, PluginUse, Quarantine, UpstreamProtocol};
    use crate::{Config, Environment, parse};
    use std::path::Path;
    use std::time::Duration;

    const REST: &str = "[upstreams.keys]\naddress = \"http://localhost:1\"\nprotocol = \"h2c\"\n\
                        [[routes]]\nprefix = \"/\"\nlocal = \"console\"\nauth = \"public\"\n";

    fn config(text: &str) -> Result<Config, String> {
        let config = parse(&format!("{text}\n{REST}"), "edge.toml", &Environment::default());
        config.map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_of_a_plugin_is_taken() {
        let config = config(
            "[plugins.p]\nfile = \"p.wasm\"\nconfig = \"c\"\nroot_id = \"r\"\nvm_id = \"v\"\nvm_config = \"vc\"\n\
             failure = \"open\"\nlog_level = \"warn\"\nstop_iteration = true\nupstreams = [\"keys\"]\n\
             callback_cpu_us = 2000\nstart_cpu_ms = 200\nmemory_kib = 1024\ninstances_per_tenant = 2\n\
             body_kib = 3\ncalls_in_flight = 4\ncalls_per_request = 5\ncall_body_kib = 6\nqueue_messages = 7\n\
             queue_kib = 8\nlog_lines_per_second = 9\nmetrics = 10\nquarantine_traps = 11\n\
             quarantine_window_seconds = 12\n\
             [plugin_host]\nmax_instances = 13\nshared_data_kib = 14\ncache_dir = \"c\"\ntenant_upstreams = [\"keys\"]\n\
             operator_upstreams = [\"keys\", \"keys\"]",
        )
        .unwrap();
        let plugin = &config.plugins[0];
        let texts = [&plugin.configuration, &plugin.root_id, &plugin.vm_id, &plugin.vm_configuration];
        assert_eq!(texts, ["c", "r", "v", "vc"]);
        assert_eq!((plugin.failure, plugin.log_level), (FailureMode::Open, PluginLogLevel::Warn));
        assert!(plugin.stop_iteration);
        assert_eq!(plugin.upstreams, ["keys"]);
        let limits = &plugin.limits;
        assert_eq!(
            (limits.callback_cpu, limits.start_cpu),
            (Duration::from_millis(2), Duration::from_millis(200))
        );
        let kib = [limits.memory_bytes, limits.body_bytes, limits.call_body_bytes, limits.queue_bytes];
        assert_eq!(kib.map(|bytes| bytes / 1024), [1024, 3, 6, 8]);
        let counts = [limits.instances_per_tenant, limits.calls_in_flight, limits.queue_messages];
        assert_eq!((counts, limits.calls_per_request), ([2, 4, 7], 5));
        assert_eq!((limits.log_lines_per_second, limits.metrics), (9, 10));
        assert_eq!(plugin.quarantine, Some(Quarantine { traps: 11, window: Duration::from_secs(12) }));
        let host = &config.plugin_host;
        assert_eq!((host.max_instances, host.shared_data_bytes), (13, 14 * 1024));
        assert_eq!(
            (host.cache_dir.as_deref(), &host.tenant_upstreams[..]),
            (Some(Path::new("c")), &["keys".into()][..])
        );
        assert_eq!(host.operator_upstreams.len(), 2);
        assert_eq!(config.upstreams[0].protocol, UpstreamProtocol::H2c);
    }

    #[test]
    fn what_is_left_out_is_the_hosts_default() {
        let config = config(
            "[store]\npath = \"/var/edge/store.redb\"\n[plugins.p]\nfile = \"p.wasm\"\nquarantine_traps = 0",
        )
        .unwrap();
        let plugin = &config.plugins[0];
        assert_eq!((plugin.failure, plugin.log_level), (FailureMode::Closed, PluginLogLevel::Info));
        assert_eq!(plugin.limits.callback_cpu, Duration::from_millis(1));
        assert_eq!(plugin.limits.memory_bytes, 16 << 20);
        assert_eq!(plugin.quarantine, None, "0 traps: never");
        assert_eq!(config.plugin_host.cache_dir.as_deref(), Some(Path::new("/var/edge/plugin-cache")));
        assert!(config.plugin_chain.is_empty());
        assert_eq!(config.routes[0].plugin_timeout, Duration::from_secs(15));
    }

    #[test]
    fn a_configuration_may_be_a_table_and_keeps_its_order() {
        let of = |lines: &str| {
            let config = config(&format!("[plugins.p]\nfile = \"p.wasm\"\n{lines}")).unwrap();
            config.plugins[0].configuration.clone()
        };
        assert_eq!(of("config = { z = 1, a = [true, 1.5, \"x\"] }"), r#"{"z":1,"a":[true,1.5,"x"]}"#);
        let since = "[plugins.p.config]\nsince = 2026-01-02T03:04:05Z\nb.y = \"\\\"\"\nb.x = {}";
        assert_eq!(of(since), r#"{"since":"2026-01-02T03:04:05Z","b":{"y":"\"","x":{}}}"#);
        assert_eq!(of("config = ' {\"as\": \"is\"}'"), " {\"as\": \"is\"}");
        assert_eq!(of(""), "");
    }

    #[test]
    fn a_use_has_a_share_and_may_be_a_shadow() {
        let tenant = "6f1f3c58-3d0d-4d51-a6a9-3a0c3f3f5c11";
        let config = config(&format!(
            "[plugins.p]\nfile = \"p.wasm\"\n[[plugin_chain]]\nplugin = \"p\"\n[[plugin_chain]]\nplugin = \"p\"\n\
             tenants = [\"{tenant}\"]\nshare_percent = 25\nshadow = true"
        ))
        .unwrap();
        let whole = PluginUse { plugin: "p".into(), tenants: None, share_percent: 100, shadow: false };
        let part = PluginUse {
            tenants: Some(vec![tenant.parse().unwrap()]),
            share_percent: 25,
            shadow: true,
            ..whole.clone()
        };
        assert_eq!(config.plugin_chain, [whole, part]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_line_and_key() {
        for (line, told) in [
            ("config = 1", "edge.toml:3: plugins.p.config: is an integer, expected text"),
            (
                "config = { a = nan }",
                "edge.toml:3: plugins.p.config: holds NaN, which JSON has not, expected",
            ),
            ("vm_config = [1]", "edge.toml:3: plugins.p.vm_config: is an array, expected text"),
            ("log_level = \"loud\"", "plugins.p.log_level: `loud` is unknown, expected \"trace\", \"debug\""),
            ("failure = \"maybe\"", "plugins.p.failure: `maybe` is unknown, expected \"closed\" or \"open\""),
            (
                "upstreams = [\"keys\", \"gone\"]",
                "edge.toml:3: plugins.p.upstreams[1]: `gone` is not configured",
            ),
            ("memory_kib = 131073", "plugins.p.memory_kib: 131073 is out of range, expected 64 to 131072"),
            ("instances_per_tenant = 0", "plugins.p.instances_per_tenant: 0 is out of range"),
            ("callback_cpu = 1", "edge.toml:3: plugins.?.callback_cpu: unknown field `callback_cpu`"),
            (
                "[plugin_host]\ntenant_upstreams = [\"gone\"]",
                "edge.toml:4: plugin_host.tenant_upstreams[0]: `gone`",
            ),
            (
                "[plugin_host]\nmax_instances = 0",
                "plugin_host.max_instances: 0 is out of range, expected 1 to 10000",
            ),
            ("[plugin_host]\ncache_dir = \"\"", "plugin_host.cache_dir: is empty"),
            (
                "[[plugin_chain]]\nplugin = \"q\"",
                "edge.toml:4: plugin_chain[0].plugin: `q` is not configured",
            ),
            (
                "[[plugin_chain]]\nplugin = \"p\"\nshare_percent = 0",
                "plugin_chain[0].share_percent: 0 is out of range",
            ),
            (
                "[upstreams.u]\naddress = \"http://localhost\"\nprotocol = \"h3\"",
                "upstreams.u.protocol: `h3` is unknown",
            ),
        ] {
            let error = config(&format!("[plugins.p]\nfile = \"p.wasm\"\n{line}")).unwrap_err();
            assert!(error.contains(told), "{told} in {error}");
        }
    }
}
