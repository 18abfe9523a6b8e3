//! A compiled module: which ABI it speaks, and whether it fits this host.

use std::sync::Arc;

use wasmtime::{Engine, Extern, ExternType, FuncType, InstancePre, Linker, Module, Store, ValType};

use crate::abi::AbiVersion;
use crate::error::LoadReason;
use crate::state::HostState;

/// A module that passed all checks, ready to be instantiated.
pub(crate) struct CompiledModule {
    pub(crate) abi: AbiVersion,
    pub(crate) allocator: &'static str,
    pub(crate) memory: String,
    /// Which of the body and trailer callbacks it has.
    pub(crate) request_body: bool,
    pub(crate) response_body: bool,
    pub(crate) request_trailers: bool,
    pub(crate) response_trailers: bool,
    pub(crate) pre: InstancePre<HostState>,
}

/// One linker for each ABI version.
pub(crate) struct Linkers {
    linkers: Vec<(AbiVersion, Linker<HostState>)>,
}

impl Linkers {
    pub(crate) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let make = |version| Ok((version, crate::host::linker(engine, version)?));
        Ok(Self { linkers: AbiVersion::ALL.into_iter().map(make).collect::<wasmtime::Result<_>>()? })
    }

    fn of(&self, version: AbiVersion) -> Option<&Linker<HostState>> {
        self.linkers.iter().find(|(known, _)| *known == version).map(|(_, linker)| linker)
    }
}

impl CompiledModule {
    /// Checks a compiled module against this host.
    ///
    /// `probe` is any store of its engine: wasmtime tells a host function's type only through one.
    pub(crate) fn fit(
        linkers: &Linkers,
        module: Module,
        mut probe: Store<HostState>,
    ) -> Result<Arc<Self>, LoadReason> {
        let abi = abi_of(&module).ok_or(LoadReason::NoAbiMarker)?;
        let linker = linkers.of(abi).ok_or(LoadReason::NoAbiMarker)?;
        check_imports(&mut probe, linker, &module, abi)?;
        check_exports(&module, abi)?;
        let allocator = allocator_of(&module).ok_or(LoadReason::NoAllocator)?;
        let memory = memory_of(&module).ok_or(LoadReason::NoMemory)?;
        let pre =
            linker.instantiate_pre(&module).map_err(|error| LoadReason::Compile(format!("{error:#}")))?;
        let has = |name| module.get_export(name).is_some();
        Ok(Arc::new(Self {
            abi,
            allocator,
            memory,
            request_body: has("proxy_on_request_body"),
            response_body: has("proxy_on_response_body"),
            request_trailers: has("proxy_on_request_trailers"),
            response_trailers: has("proxy_on_response_trailers"),
            pre,
        }))
    }
}

/// The first marker among the exports decides, as in the reference host.
fn abi_of(module: &Module) -> Option<AbiVersion> {
    let mut functions = module.exports().filter(|export| matches!(export.ty(), ExternType::Func(_)));
    functions.find_map(|export| AbiVersion::from_marker(export.name()))
}

/// `malloc` before `proxy_on_memory_allocate`, as in Envoy; the document has it the other way round.
fn allocator_of(module: &Module) -> Option<&'static str> {
    ["malloc", "proxy_on_memory_allocate"].into_iter().find(|name| module.get_export(name).is_some())
}

/// There is at most one memory; its name does not matter.
fn memory_of(module: &Module) -> Option<String> {
    let memory = module.exports().find(|export| matches!(export.ty(), ExternType::Memory(_)))?;
    Some(memory.name().to_owned())
}

fn check_imports(
    probe: &mut Store<HostState>,
    linker: &Linker<HostState>,
    module: &Module,
    abi: AbiVersion,
) -> Result<(), LoadReason> {
    for import in module.imports() {
        let (from, name, wanted) = (import.module().to_owned(), import.name().to_owned(), import.ty());
        let known = linker.get(&mut *probe, &from, &name).ok().and_then(Extern::into_func);
        let (Some(known), ExternType::Func(wanted)) = (known, &wanted) else {
            return Err(LoadReason::UnknownImport { module: from, name, kind: kind(&wanted), abi });
        };
        let known = known.ty(&*probe);
        if !same(wanted, &known) {
            return Err(LoadReason::ImportType {
                module: from,
                name,
                actual: show(wanted),
                expected: show(&known),
            });
        }
    }
    Ok(())
}

fn kind(ty: &ExternType) -> &'static str {
    match ty {
        ExternType::Func(_) => "function",
        ExternType::Memory(_) => "memory",
        ExternType::Table(_) => "table",
        ExternType::Global(_) => "global",
        ExternType::Tag(_) => "tag",
    }
}

/// A callback's name, number of `i32` parameters and of `i32` results.
type Signature = (&'static str, usize, usize);

/// The callbacks whose type does not depend on the version, delivered today or not.
const CALLBACKS: [Signature; 26] = [
    ("proxy_on_context_create", 2, 0),
    ("proxy_on_vm_start", 2, 1),
    ("proxy_validate_configuration", 2, 1),
    ("proxy_on_configure", 2, 1),
    ("proxy_on_tick", 1, 0),
    ("proxy_on_new_connection", 1, 1),
    ("proxy_on_downstream_data", 3, 1),
    ("proxy_on_upstream_data", 3, 1),
    ("proxy_on_downstream_connection_close", 2, 0),
    ("proxy_on_upstream_connection_close", 2, 0),
    ("proxy_on_request_body", 3, 1),
    ("proxy_on_request_trailers", 2, 1),
    ("proxy_on_request_metadata", 2, 1),
    ("proxy_on_response_body", 3, 1),
    ("proxy_on_response_trailers", 2, 1),
    ("proxy_on_response_metadata", 2, 1),
    ("proxy_on_http_call_response", 5, 0),
    ("proxy_on_grpc_receive", 3, 0),
    ("proxy_on_grpc_close", 3, 0),
    ("proxy_on_grpc_receive_initial_metadata", 3, 0),
    ("proxy_on_grpc_receive_trailing_metadata", 3, 0),
    ("proxy_on_queue_ready", 2, 0),
    ("proxy_on_foreign_function", 3, 0),
    ("proxy_on_done", 1, 1),
    ("proxy_on_log", 1, 0),
    ("proxy_on_delete", 1, 0),
];

/// Header callbacks got their `end_of_stream` with 0.2.0.
fn header_callbacks(abi: AbiVersion) -> [Signature; 2] {
    let parameters = if abi == AbiVersion::V0_1_0 { 2 } else { 3 };
    [("proxy_on_request_headers", parameters, 1), ("proxy_on_response_headers", parameters, 1)]
}

/// The start-up functions and the allocator that will be used; the others of their kind are not looked at.
fn start_functions(module: &Module) -> Vec<Signature> {
    let mut functions: Vec<Signature> = if module.get_export("_initialize").is_some() {
        vec![("_initialize", 0, 0), ("main", 2, 1), ("__main_void", 0, 1)]
    } else {
        vec![("_start", 0, 0)]
    };
    functions.extend(allocator_of(module).map(|name| (name, 1, 1)));
    functions
}

fn check_exports(module: &Module, abi: AbiVersion) -> Result<(), LoadReason> {
    let wanted = CALLBACKS.into_iter().chain(header_callbacks(abi)).chain(start_functions(module));
    for (name, parameters, results) in wanted {
        let Some(export) = module.get_export(name) else { continue };
        let expected = FuncType::new(
            module.engine(),
            std::iter::repeat_n(ValType::I32, parameters),
            std::iter::repeat_n(ValType::I32, results),
        );
        let actual = match &export {
            ExternType::Func(actual) if same(actual, &expected) => continue,
            ExternType::Func(actual) => show(actual),
            other => format!("a {}", kind(other)),
        };
        return Err(LoadReason::ExportType { name: name.to_owned(), actual, expected: show(&expected), abi });
    }
    Ok(())
}

fn same(left: &FuncType, right: &FuncType) -> bool {
    FuncType::eq(left, right)
}

/// A function type as `(i32, i64) -> i32`.
fn show(ty: &FuncType) -> String {
    let list = |types: Vec<String>| types.join(", ");
    let parameters = list(ty.params().map(|ty| ty.to_string()).collect());
    match list(ty.results().map(|ty| ty.to_string()).collect()).as_str() {
        "" => format!("({parameters})"),
        results => format!("({parameters}) -> {results}"),
    }
}
