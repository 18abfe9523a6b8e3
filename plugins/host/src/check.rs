//! Looking at a module without keeping it: for uploads, and for authors' tools.

use std::collections::BTreeSet;
use std::sync::Arc;

use wasmtime::ExternType;

use crate::abi::AbiVersion;
use crate::engine::Engine;
use crate::error::LoadError;
use crate::module::CompiledModule;
use crate::plugin::{Plugin, PluginConfig};

/// How far a plugin is started to check it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckDepth {
    /// Up to `proxy_on_vm_start`: whether the module fits this host, whatever its configuration will be.
    Started,
    /// Up to `proxy_on_configure`: whether it works with its configuration. What [`Engine::load`] asks for.
    Configured,
}

/// What a module is and may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFacts {
    /// The ABI version it was written for.
    pub abi: AbiVersion,
    /// The host functions it imports, as `module.name`, sorted, each once.
    pub imports: Vec<String>,
    /// The callbacks it exports, sorted.
    pub callbacks: Vec<String>,
}

impl Engine {
    /// Does all that [`Engine::load`] does to find out what is wrong with a plugin, and keeps nothing of it.
    ///
    /// The guest's own code is bounded by the plugin's limits. Compiling is not, but for the module's size: it takes
    /// up to seconds of CPU time for a megabyte that was made to be slow, and nothing can interrupt it. Call it off
    /// the request path, and not often at a time.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn check(&self, config: PluginConfig, depth: CheckDepth) -> Result<ModuleFacts, LoadError> {
        let plugin = config.name.clone();
        let refuse = |reason| LoadError { plugin, reason: Box::new(reason) };
        self.check_limits(&config)
            .and_then(|()| Plugin::check(self.inner(), config, depth))
            .map(|module| facts(&module))
            .map_err(refuse)
    }
}

fn facts(module: &Arc<CompiledModule>) -> ModuleFacts {
    let compiled = module.pre.module();
    let imports: BTreeSet<String> =
        compiled.imports().map(|import| format!("{}.{}", import.module(), import.name())).collect();
    let callbacks: BTreeSet<String> = compiled
        .exports()
        .filter(|export| matches!(export.ty(), ExternType::Func(_)) && export.name().starts_with("proxy_on_"))
        .map(|export| export.name().to_owned())
        .collect();
    ModuleFacts {
        abi: module.abi,
        imports: imports.into_iter().collect(),
        callbacks: callbacks.into_iter().collect(),
    }
}
