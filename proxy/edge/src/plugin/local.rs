//! What needs no edge: check, run, test, bench.

use super::args::{ConfigurationArgs, ExchangeArgs, LoadArgs};
use super::exchange;
use crate::cli::say;
use anyhow::{Context, bail};
use coditect_plugin_tools::inspect::{human, inspect, report};
use coditect_plugin_tools::rehearse::rehearse;
use coditect_plugin_tools::report::{Totals, human as told, json as reported, junit};
use coditect_plugin_tools::suite::{Case, MAX_SUITE_BYTES, PluginSettings};
use coditect_plugin_tools::{RunOptions, files, run_file};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest configuration that is read, in bytes.
const MAX_CONFIGURATION_BYTES: u64 = MAX_SUITE_BYTES;

/// Looks at a module; false if it is refused.
pub(super) fn check(
    file: &Path,
    config: Option<&Path>,
    plugin: &LoadArgs,
    json: bool,
) -> anyhow::Result<bool> {
    let wasm = module(file)?;
    let configuration = configuration(config, &plugin.configuration)?;
    let configured = configuration.is_some();
    let settings = settings(PluginSettings::default(), configuration, plugin);
    let inspection = inspect(&wasm, &settings, configured).context("the plugin host cannot start")?;
    let name = file.display().to_string();
    let text = if json { report(&name, &inspection).to_string() } else { human(&name, &inspection) };
    say(text.trim_end());
    Ok(inspection.verdict.is_ok())
}

/// Runs one exchange; false if the plugin is refused or fails.
pub(super) fn run(
    file: &Path,
    config: Option<&Path>,
    plugin: &LoadArgs,
    given: &ExchangeArgs,
    trace: bool,
    json: bool,
) -> anyhow::Result<bool> {
    let (wasm, settings, case) = prepared(file, config, plugin, given)?;
    let rehearsal = rehearse(&wasm, &settings, &case).context("the plugin host cannot start")?;
    let text = if json { rehearsal.json().to_string() } else { rehearsal.human(trace) };
    say(text.trim_end());
    Ok(rehearsal.is_good())
}

/// Measures; the plugin's failure is an error, since then there is nothing to measure.
pub(super) fn bench(
    file: &Path,
    config: Option<&Path>,
    plugin: &LoadArgs,
    given: &ExchangeArgs,
    rounds: u32,
    json: bool,
) -> anyhow::Result<bool> {
    let (wasm, settings, case) = prepared(file, config, plugin, given)?;
    let measured = coditect_plugin_tools::bench::bench(&wasm, &settings, &case, rounds);
    let measured = measured.map_err(|problem| anyhow::anyhow!(problem))?;
    let text = if json { measured.json().to_string() } else { measured.human() };
    say(text.trim_end());
    Ok(true)
}

/// Files that `plugin test` reads and writes.
pub(super) struct TestFiles<'a> {
    pub(super) suites: Vec<PathBuf>,
    pub(super) plugin: Option<PathBuf>,
    pub(super) config: Option<&'a Path>,
    pub(super) junit: Option<PathBuf>,
}

/// Runs cases; false if one fails.
pub(super) fn test(
    files: TestFiles<'_>,
    filter: Option<String>,
    verbose: bool,
    json: bool,
) -> anyhow::Result<bool> {
    let suites = files::suites(&files.suites)?;
    let configuration = files.config.map(read).transpose()?;
    let options = RunOptions { plugin: files.plugin, configuration, filter };
    let reports: Vec<_> = suites.iter().map(|suite| run_file(suite, &options)).collect();
    if let Some(file) = &files.junit {
        std::fs::write(file, junit(&reports))
            .with_context(|| format!("the report {} cannot be written", file.display()))?;
    }
    let text = if json { reported(&reports).to_string() } else { told(&reports, verbose) };
    say(text.trim_end());
    let Totals { passed, failed, errors } = Totals::of(&reports);
    if errors > 0 {
        bail!("{errors} of {} files could not be run", reports.len());
    }
    if passed + failed == 0 {
        bail!(
            "there is no case to run: files of cases end with .test.toml, or with .textpb and have tests in their name"
        );
    }
    Ok(failed == 0)
}

type Prepared = (Arc<[u8]>, PluginSettings, Case);

/// The module, its settings and the exchange, as the arguments and a case say.
fn prepared(
    file: &Path,
    config: Option<&Path>,
    plugin: &LoadArgs,
    given: &ExchangeArgs,
) -> anyhow::Result<Prepared> {
    let wasm = module(file)?;
    let (base, case) = exchange::case(given)?;
    let configuration = configuration(config, &plugin.configuration)?;
    Ok((wasm, settings(base, configuration, plugin), case))
}

fn module(file: &Path) -> anyhow::Result<Arc<[u8]>> {
    Ok(files::module(file)?.into())
}

fn settings(base: PluginSettings, configuration: Option<Vec<u8>>, plugin: &LoadArgs) -> PluginSettings {
    let mut settings = base;
    if let Some(configuration) = configuration {
        settings.configuration = configuration;
    }
    if let Some(root_id) = &plugin.configuration.root_id {
        settings.root_id.clone_from(root_id);
    }
    settings.upstreams.extend(plugin.upstream.iter().cloned());
    settings.stop_iteration |= plugin.stop_iteration;
    settings
}

/// The plugin's configuration, where there is one.
pub(super) fn configuration(
    config: Option<&Path>,
    args: &ConfigurationArgs,
) -> anyhow::Result<Option<Vec<u8>>> {
    match (config, &args.config_text) {
        (Some(_), Some(_)) => bail!("give the configuration once: --config FILE or --config-text TEXT"),
        (Some(file), None) => read(file).map(Some),
        (None, Some(text)) => Ok(Some(text.clone().into_bytes())),
        (None, None) => Ok(None),
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file != Path::new("-") {
        let bytes = files::bytes(file, MAX_CONFIGURATION_BYTES);
        return bytes.with_context(|| format!("the plugin's configuration {}", file.display()));
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_CONFIGURATION_BYTES + 1)
        .read_to_end(&mut bytes)
        .context("standard input cannot be read")?;
    if bytes.len() as u64 > MAX_CONFIGURATION_BYTES {
        bail!("the configuration on standard input has more than {MAX_CONFIGURATION_BYTES} bytes");
    }
    Ok(bytes)
}
