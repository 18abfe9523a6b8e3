//! The guest functions this host calls during an instance's life.

use wasmtime::{Store, TypedFunc};

use crate::abi::AbiVersion;
use crate::state::HostState;

/// A header callback in the form of the module's ABI version.
pub(crate) enum OnHeaders {
    V01(TypedFunc<(u32, u32), u32>),
    V02(TypedFunc<(u32, u32, u32), u32>),
}

/// The callbacks this host calls, where the module has them.
pub(crate) struct Callbacks {
    pub(crate) context_create: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) vm_start: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) configure: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) request_headers: Option<OnHeaders>,
    pub(crate) response_headers: Option<OnHeaders>,
    pub(crate) done: Option<TypedFunc<u32, u32>>,
    pub(crate) log: Option<TypedFunc<u32, ()>>,
    pub(crate) delete: Option<TypedFunc<u32, ()>>,
}

impl Callbacks {
    /// Looks them up. Their types were checked when the module was compiled.
    pub(crate) fn of(instance: &wasmtime::Instance, store: &mut Store<HostState>, abi: AbiVersion) -> Self {
        Self {
            context_create: instance.get_typed_func(&mut *store, "proxy_on_context_create").ok(),
            vm_start: instance.get_typed_func(&mut *store, "proxy_on_vm_start").ok(),
            configure: instance.get_typed_func(&mut *store, "proxy_on_configure").ok(),
            request_headers: OnHeaders::of(instance, store, abi, "proxy_on_request_headers"),
            response_headers: OnHeaders::of(instance, store, abi, "proxy_on_response_headers"),
            done: instance.get_typed_func(&mut *store, "proxy_on_done").ok(),
            log: instance.get_typed_func(&mut *store, "proxy_on_log").ok(),
            delete: instance.get_typed_func(&mut *store, "proxy_on_delete").ok(),
        }
    }
}

impl OnHeaders {
    fn of(
        instance: &wasmtime::Instance,
        store: &mut Store<HostState>,
        abi: AbiVersion,
        name: &str,
    ) -> Option<Self> {
        match abi {
            AbiVersion::V0_1_0 => instance.get_typed_func(&mut *store, name).ok().map(Self::V01),
            AbiVersion::V0_2_0 | AbiVersion::V0_2_1 => {
                instance.get_typed_func(&mut *store, name).ok().map(Self::V02)
            }
        }
    }
}
