//! `plugin check`: what a module is, whether the host takes it, and what it may touch.

use crate::environment::{Line, START};
use crate::stage::{Stage, plugin_config};
use crate::suite::PluginSettings;
use coditect_proxy_wasm::{CheckDepth, EngineError, LoadReason, Meter, ModuleFacts};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// What was found out about a module.
#[derive(Debug)]
pub struct Inspection {
    /// Its size, in bytes.
    pub size: usize,
    /// The SHA-256 of its bytes, in hexadecimal: how the edge tells modules apart.
    pub sha256: String,
    /// Whether it was started with a configuration, or only as far as any configuration lets it.
    pub configured: bool,
    /// What it is, or why the host does not take it.
    pub verdict: Result<ModuleFacts, Refusal>,
    /// What it logged when it was started.
    pub lines: Vec<Line>,
}

/// Why the host does not take a module.
#[derive(Debug)]
pub struct Refusal {
    /// The reason, in the host's words.
    pub reason: String,
    /// What its author can do.
    pub advice: Option<&'static str>,
}

/// Does all that the edge does before it takes a plugin. With a configuration it is configured, too.
///
/// # Errors
/// The host cannot start.
pub fn inspect(
    wasm: &Arc<[u8]>,
    settings: &PluginSettings,
    configured: bool,
) -> Result<Inspection, EngineError> {
    let stage = Stage::new(START, Meter::CpuTime)?;
    stage.world.keep_all_lines(true);
    let depth = if configured { CheckDepth::Configured } else { CheckDepth::Started };
    let checked = stage.engine.check(plugin_config("check", wasm, settings, None), depth);
    let verdict =
        checked.map_err(|error| Refusal { advice: advice(&error.reason), reason: error.reason.to_string() });
    let (lines, _) = stage.world.take_lines();
    let sha256 = hex::encode(Sha256::digest(wasm));
    Ok(Inspection { size: wasm.len(), sha256, configured, verdict, lines })
}

fn advice(reason: &LoadReason) -> Option<&'static str> {
    match reason {
        LoadReason::NoAbiMarker => Some(
            "Build it with a Proxy-Wasm SDK, as a library: a Rust crate needs crate-type = [\"cdylib\"] and \
             proxy_wasm::main!.",
        ),
        LoadReason::UnknownImport { .. } => Some(
            "It calls what no Proxy-Wasm host of this ABI has. wasm32-wasip1 is the target to build for; code that \
             opens files or sockets does not run in a proxy.",
        ),
        LoadReason::Compile(_) => {
            Some("The file must be one core module in the binary format, no component.")
        }
        LoadReason::NoAllocator | LoadReason::NoMemory => {
            Some("The linker dropped it: SDKs export it by themselves where they are linked as a library.")
        }
        LoadReason::Canary(_) => Some(
            "It failed when it was started. Its log is above; `plugin run` shows every call it makes, and \
             --config FILE gives it the configuration it may be missing.",
        ),
        _ => None,
    }
}

/// What a plugin can do to the world, and by which imports.
struct Ability {
    key: &'static str,
    may: &'static str,
    /// Names of host functions, or beginnings of names that end in `*`.
    by: &'static [&'static str],
}

const ABILITIES: [Ability; 16] = [
    Ability {
        key: "read_headers",
        may: "read headers and trailers",
        by: &["proxy_get_header_map_pairs", "proxy_get_header_map_value", "proxy_get_header_map_size"],
    },
    Ability {
        key: "change_headers",
        may: "change headers and trailers",
        by: &[
            "proxy_set_header_map_pairs",
            "proxy_add_header_map_value",
            "proxy_replace_header_map_value",
            "proxy_remove_header_map_value",
        ],
    },
    Ability {
        key: "read_buffers",
        may: "read bodies, its configuration and answers to its calls",
        by: &["proxy_get_buffer_bytes", "proxy_get_buffer_status", "proxy_get_configuration"],
    },
    Ability { key: "change_bodies", may: "change bodies", by: &["proxy_set_buffer_bytes"] },
    Ability { key: "respond", may: "answer requests itself", by: &["proxy_send_local_response"] },
    Ability { key: "resume", may: "hold an exchange and let it go on", by: &["proxy_continue_*"] },
    Ability { key: "close", may: "break a connection off", by: &["proxy_close_stream"] },
    Ability {
        key: "http_calls",
        may: "call upstreams by HTTP, those that its configuration names",
        by: &["proxy_http_call"],
    },
    Ability {
        key: "grpc_calls",
        may: "call upstreams by gRPC, those that its configuration names",
        by: &["proxy_grpc_*"],
    },
    Ability {
        key: "shared_data",
        may: "keep data that a tenant's instances share",
        by: &["proxy_get_shared_data", "proxy_set_shared_data"],
    },
    Ability { key: "shared_queues", may: "pass messages through queues", by: &["proxy_*_shared_queue"] },
    Ability {
        key: "read_properties",
        may: "read properties: addresses, user, tenant, route",
        by: &["proxy_get_property"],
    },
    Ability { key: "set_properties", may: "set properties for later plugins", by: &["proxy_set_property"] },
    Ability {
        key: "timer",
        may: "run without a request, on a timer",
        by: &["proxy_set_tick_period_milliseconds"],
    },
    Ability { key: "metrics", may: "count and measure", by: &["proxy_*_metric"] },
    Ability {
        key: "foreign_functions",
        may: "call functions that a host may add",
        by: &["proxy_call_foreign_function"],
    },
];

impl Ability {
    fn has(&self, imports: &[String]) -> bool {
        imports.iter().any(|import| {
            let name = import.split_once('.').map_or(import.as_str(), |(_, name)| name);
            self.by.iter().any(|pattern| match pattern.split_once('*') {
                Some((start, end)) => {
                    name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
                }
                None => name == *pattern,
            })
        })
    }
}

/// The report for people; `name` stands for the module.
#[must_use]
pub fn human(name: &str, inspection: &Inspection) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| text.push_str(&format!("{name:<10} {value}\n"));
    row("module", name);
    row("size", &format!("{} bytes", inspection.size));
    row("sha256", &inspection.sha256);
    let logged: Vec<String> = inspection
        .lines
        .iter()
        .map(|line| {
            format!("{} {}", format!("{:?}", line.level).to_lowercase(), crate::diff::quoted(&line.message))
        })
        .collect();
    let facts = match &inspection.verdict {
        Ok(facts) => facts,
        Err(Refusal { reason, advice }) => {
            logged.iter().for_each(|line| row("logged", line));
            text.push_str(&format!("\nREFUSED: {reason}\n"));
            if let Some(advice) = advice {
                text.push_str(&format!("{advice}\n"));
            }
            return text;
        }
    };
    row("abi", &facts.abi.to_string());
    row("started", if inspection.configured { "with this configuration" } else { "without a configuration" });
    logged.iter().for_each(|line| row("logged", line));
    list(&mut text, "It is called at", &facts.callbacks);
    let (may, may_not): (Vec<_>, Vec<_>) = ABILITIES.iter().partition(|ability| ability.has(&facts.imports));
    let words = |abilities: &[&Ability]| abilities.iter().map(|ability| ability.may.to_owned()).collect();
    list(&mut text, "It may", &words(&may));
    list(&mut text, "It cannot", &words(&may_not));
    list(&mut text, "It imports", &facts.imports);
    text
}

fn list(text: &mut String, title: &str, items: &Vec<String>) {
    text.push_str(&format!("\n{title}:\n"));
    if items.is_empty() {
        text.push_str("  nothing\n");
    }
    for item in items {
        text.push_str(&format!("  {item}\n"));
    }
}

/// The report for programs.
#[must_use]
pub fn report(name: &str, inspection: &Inspection) -> Value {
    let log: Vec<Value> = inspection.lines.iter().map(crate::report::json_line).collect();
    let mut report = json!({
        "module": name,
        "size": inspection.size,
        "sha256": inspection.sha256,
        "accepted": inspection.verdict.is_ok(),
        "configured": inspection.configured,
        "log": log,
    });
    let more = match &inspection.verdict {
        Err(Refusal { reason, advice }) => json!({ "reason": reason, "advice": advice }),
        Ok(facts) => {
            let may: serde_json::Map<String, Value> = ABILITIES
                .iter()
                .map(|ability| (ability.key.to_owned(), ability.has(&facts.imports).into()))
                .collect();
            json!({
                "abi": facts.abi.to_string(),
                "callbacks": facts.callbacks,
                "imports": facts.imports,
                "may": may,
            })
        }
    };
    if let (Some(report), Value::Object(more)) = (report.as_object_mut(), more) {
        report.extend(more);
    }
    report
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn inspected(fields: &str) -> Inspection {
        let text = format!(
            r#"(module {fields}
                (memory (export "memory") 1)
                (func (export "malloc") (param i32) (result i32) (i32.const 64)))"#
        );
        let wasm: Arc<[u8]> = wat::parse_str(text).unwrap().into();
        inspect(&wasm, &PluginSettings::default(), false).unwrap()
    }

    #[test]
    fn what_a_module_may_touch_is_told_by_its_imports() {
        let found = inspected(
            r#"(import "env" "proxy_increment_metric" (func (param i32 i64) (result i32)))
               (import "env" "proxy_set_buffer_bytes" (func (param i32 i32 i32 i32 i32) (result i32)))
               (func (export "proxy_abi_version_0_2_1"))
               (func (export "proxy_on_tick") (param i32))"#,
        );
        let json = report("a.wasm", &found);
        assert_eq!((&json["accepted"], &json["abi"]), (&true.into(), &"0.2.1".into()));
        assert_eq!((&json["may"]["metrics"], &json["may"]["change_bodies"]), (&true.into(), &true.into()));
        assert_eq!(
            (&json["may"]["http_calls"], &json["may"]["shared_queues"]),
            (&false.into(), &false.into())
        );
        let text = human("a.wasm", &found);
        let (may, cannot) = text.split_once("It cannot").unwrap();
        assert!(may.contains("  change bodies") && cannot.contains("  answer requests itself"), "{text}");
        assert!(text.contains("It is called at:\n  proxy_on_tick\n"), "{text}");
    }

    #[test]
    fn a_refused_module_is_told_why_and_what_to_do() {
        let found = inspected("");
        let text = human("a.wasm", &found);
        assert!(text.contains("REFUSED: no Proxy-Wasm ABI marker") && text.contains("cdylib"), "{text}");
        let json = report("a.wasm", &found);
        assert_eq!(json["accepted"], false);
        assert!(json["reason"].as_str().unwrap().contains("ABI marker"));
        let refuses = inspected(
            r#"(func (export "proxy_abi_version_0_2_1"))
               (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 0))"#,
        );
        assert!(human("a.wasm", &refuses).contains("proxy_on_vm_start"));
    }
}
