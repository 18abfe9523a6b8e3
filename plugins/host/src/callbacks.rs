//! The guest functions this host calls during an instance's life.

use wasmtime::{Store, TypedFunc};

use crate::abi::AbiVersion;
use crate::state::HostState;

/// A header callback in the form of the module's ABI version.
pub(crate) enum OnHeaders {
    V01(TypedFunc<(u32, u32), u32>),
    V02(TypedFunc<(u32, u32, u32), u32>),
}

/// The callbacks of one half of a stream, by name.
pub(crate) struct MessageNames {
    pub(crate) headers: &'static str,
    pub(crate) body: &'static str,
    pub(crate) trailers: &'static str,
}

pub(crate) const REQUEST: MessageNames = MessageNames {
    headers: "proxy_on_request_headers",
    body: "proxy_on_request_body",
    trailers: "proxy_on_request_trailers",
};

pub(crate) const RESPONSE: MessageNames = MessageNames {
    headers: "proxy_on_response_headers",
    body: "proxy_on_response_body",
    trailers: "proxy_on_response_trailers",
};

/// The callbacks of one half of a stream.
pub(crate) struct OnMessage {
    pub(crate) names: &'static MessageNames,
    pub(crate) headers: Option<OnHeaders>,
    pub(crate) body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) trailers: Option<TypedFunc<(u32, u32), u32>>,
}

/// `proxy_on_http_call_response`: context, token, headers, bytes of the body, trailers.
type OnHttpCallResponse = TypedFunc<(u32, u32, u32, u32, u32), ()>;

/// The callbacks this host calls, where the module has them.
pub(crate) struct Callbacks {
    pub(crate) context_create: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) vm_start: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) configure: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) request: OnMessage,
    pub(crate) response: OnMessage,
    pub(crate) tick: Option<TypedFunc<u32, ()>>,
    pub(crate) queue_ready: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) http_call_response: Option<OnHttpCallResponse>,
    pub(crate) grpc_initial_metadata: Option<TypedFunc<(u32, u32, u32), ()>>,
    pub(crate) grpc_message: Option<TypedFunc<(u32, u32, u32), ()>>,
    pub(crate) grpc_trailing_metadata: Option<TypedFunc<(u32, u32, u32), ()>>,
    pub(crate) grpc_close: Option<TypedFunc<(u32, u32, u32), ()>>,
    pub(crate) done: Option<TypedFunc<u32, u32>>,
    pub(crate) log: Option<TypedFunc<u32, ()>>,
    pub(crate) delete: Option<TypedFunc<u32, ()>>,
}

impl Callbacks {
    /// Looks them up. Their types were checked when the module was compiled.
    pub(crate) fn of(instance: &wasmtime::Instance, store: &mut Store<HostState>, abi: AbiVersion) -> Self {
        macro_rules! function {
            ($name:literal) => {
                instance.get_typed_func(&mut *store, $name).ok()
            };
        }
        Self {
            context_create: function!("proxy_on_context_create"),
            vm_start: function!("proxy_on_vm_start"),
            configure: function!("proxy_on_configure"),
            tick: function!("proxy_on_tick"),
            queue_ready: function!("proxy_on_queue_ready"),
            http_call_response: function!("proxy_on_http_call_response"),
            grpc_initial_metadata: function!("proxy_on_grpc_receive_initial_metadata"),
            grpc_message: function!("proxy_on_grpc_receive"),
            grpc_trailing_metadata: function!("proxy_on_grpc_receive_trailing_metadata"),
            grpc_close: function!("proxy_on_grpc_close"),
            done: function!("proxy_on_done"),
            log: function!("proxy_on_log"),
            delete: function!("proxy_on_delete"),
            request: OnMessage::of(instance, store, abi, &REQUEST),
            response: OnMessage::of(instance, store, abi, &RESPONSE),
        }
    }
}

impl OnMessage {
    fn of(
        instance: &wasmtime::Instance,
        store: &mut Store<HostState>,
        abi: AbiVersion,
        names: &'static MessageNames,
    ) -> Self {
        let headers = match abi {
            AbiVersion::V0_1_0 => {
                instance.get_typed_func(&mut *store, names.headers).ok().map(OnHeaders::V01)
            }
            AbiVersion::V0_2_0 | AbiVersion::V0_2_1 => {
                instance.get_typed_func(&mut *store, names.headers).ok().map(OnHeaders::V02)
            }
        };
        Self {
            names,
            headers,
            body: instance.get_typed_func(&mut *store, names.body).ok(),
            trailers: instance.get_typed_func(&mut *store, names.trailers).ok(),
        }
    }
}
