//! `coditect-edge check`: is a configuration valid, and where does each path lead?

use crate::app;
use crate::cli::say;
use crate::storage;
use anyhow::Context;
use coditect_auth::{SystemClock, SystemEntropy};
use coditect_config::{Auth, Config, PluginHostConfig, PluginUse, Route};
use coditect_proxy::{JWKS_PATH, PluginLoader, RouteTable};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Validates the file, sees that this build has its store, loads its plugins, prints its routes.
pub(crate) fn run(file: Option<&Path>, as_json: bool) -> anyhow::Result<ExitCode> {
    let name = file.map_or("the embedded configuration".into(), |file| file.display().to_string());
    let checked = app::load(file).and_then(|config| {
        storage::check(&config)?;
        load_plugins(&config)?;
        Ok(config)
    });
    match (checked, as_json) {
        (Ok(config), true) => say(&report(&config).to_string()),
        (Ok(config), false) => print(&name, &config),
        (Err(error), true) => {
            let problems: Vec<String> = format!("{error:#}").lines().map(str::to_owned).collect();
            say(&json!({ "valid": false, "problems": problems }).to_string());
            return Ok(ExitCode::FAILURE);
        }
        (Err(error), false) => return Err(error),
    }
    Ok(ExitCode::SUCCESS)
}

fn load_plugins(config: &Config) -> anyhow::Result<()> {
    if config.plugins.is_empty() {
        return Ok(());
    }
    // It leaves nothing behind.
    let host = PluginHostConfig { cache_dir: None, ..config.plugin_host.clone() };
    let loader = PluginLoader::new(&host, Arc::new(SystemClock), Arc::new(SystemEntropy), None)
        .context("the plugin host cannot start")?;
    loader.try_load(&config.plugins)?;
    Ok(())
}

/// The routes in the order in which they are tried.
fn table(config: &Config) -> RouteTable<&Route> {
    RouteTable::new(config.routes.iter().map(|route| (route.prefix.clone(), route)).collect())
}

fn who(auth: Auth) -> &'static str {
    match auth {
        Auth::Public => "public",
        Auth::Jwt => "jwt",
        Auth::Workspace => "workspace",
    }
}

/// The plugins of a list, each with for whom it is.
fn plugins(uses: &[PluginUse]) -> Vec<String> {
    let told = |used: &PluginUse| {
        let tenants = used.tenants.as_ref().map(|tenants| match tenants.len() {
            1 => "1 tenant".to_owned(),
            several => format!("{several} tenants"),
        });
        let share = (used.share_percent < 100).then(|| format!("{} %", used.share_percent));
        let shadow = used.shadow.then(|| "shadow".to_owned());
        let for_whom: Vec<_> = [tenants, share, shadow].into_iter().flatten().collect();
        match for_whom.is_empty() {
            true => used.plugin.clone(),
            false => format!("{} ({})", used.plugin, for_whom.join(", ")),
        }
    };
    uses.iter().map(told).collect()
}

fn print(name: &str, config: &Config) {
    say(&format!("{name} is valid. Routes, the first that matches wins:\n"));
    let row = |prefix: &str, who: &str, target: &str, plugins: &str| {
        say(format!("  {prefix:<36} {who:<10} {target:<32} {plugins}").trim_end());
    };
    row("PREFIX", "WHO", "LEADS TO", "PLUGINS");
    row("/health (exactly)", "public", "the edge itself", "");
    if config.auth.key_set.is_some() {
        row(&format!("{JWKS_PATH} (exactly)"), "public", "the edge itself", "");
    }
    for (prefix, route) in table(config).iter() {
        let target = route.target.to_string();
        let strip = if route.strip_prefix { ", prefix stripped" } else { "" };
        row(&prefix.text, who(route.auth), &format!("{target}{strip}"), &plugins(&route.plugins).join(", "));
        for public in &route.public {
            row(&format!("  {} {}", public.method, public.path), "public", "", "");
        }
    }
    if !config.routes.iter().any(|route| route.prefix.segments.is_empty()) {
        row("(anything else)", "", "404 NOT_FOUND", "");
    }
    if !config.plugin_chain.is_empty() {
        say(&format!(
            "\nplugins of every route, before its own: {}",
            plugins(&config.plugin_chain).join(", ")
        ));
    }
    for upstream in &config.upstreams {
        say(&format!("\nupstream {} is {}:{}", upstream.name, upstream.host, upstream.port));
    }
    for warning in &config.warnings {
        say(&format!("\nwarning: {warning}"));
    }
}

fn report(config: &Config) -> serde_json::Value {
    let routes: Vec<_> = table(config)
        .iter()
        .map(|(prefix, route)| {
            let public: Vec<_> =
                route.public.iter().map(|public| format!("{} {}", public.method, public.path)).collect();
            json!({
                "prefix": prefix.text, "auth": who(route.auth), "target": route.target.to_string(),
                "strip_prefix": route.strip_prefix, "public": public, "plugins": plugins(&route.plugins),
            })
        })
        .collect();
    json!({
        "valid": true, "routes": routes, "plugin_chain": plugins(&config.plugin_chain),
        "warnings": config.warnings,
    })
}
