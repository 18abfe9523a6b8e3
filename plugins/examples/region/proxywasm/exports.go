// Package proxywasm is as much of the Proxy-Wasm ABI (0.2.1) as the region policy needs: a filter for request headers
// with a configuration. A larger plugin would use an SDK.
package proxywasm

import "unsafe"

// Action says whether the request goes on.
type Action uint32

const (
	// Continue lets it go on.
	Continue Action = 0
	// Pause holds it, or ends it where an answer was sent.
	Pause Action = 1
)

// Plugin is what a policy has to do.
type Plugin interface {
	// Configure takes the configuration; with an error the plugin does not start.
	Configure(configuration []byte) error
	// RequestHeaders is called once for each request.
	RequestHeaders() Action
}

var plugin Plugin

// Register names the policy. To be called in an init function.
func Register(p Plugin) {
	plugin = p
}

// Memory the host has asked for and filled, kept from the garbage collector until it is taken.
var allocated = map[unsafe.Pointer][]byte{}

// take gives what the host put there. No memory is an empty value.
func take(data unsafe.Pointer, size uint32) []byte {
	bytes, found := allocated[data]
	if !found {
		return nil
	}
	delete(allocated, data)
	return bytes[:size]
}

//go:wasmexport proxy_on_memory_allocate
func onMemoryAllocate(size uint32) unsafe.Pointer {
	bytes := make([]byte, max(size, 1))
	data := unsafe.Pointer(unsafe.SliceData(bytes))
	allocated[data] = bytes
	return data
}

//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}

//go:wasmexport proxy_on_context_create
func onContextCreate(context, parent uint32) {}

//go:wasmexport proxy_on_vm_start
func onVMStart(context, configurationSize uint32) uint32 {
	return 1
}

//go:wasmexport proxy_on_configure
func onConfigure(context, configurationSize uint32) uint32 {
	if err := plugin.Configure(PluginConfiguration()); err != nil {
		Log(Error, "the configuration is refused: "+err.Error())
		return 0
	}
	return 1
}

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(context, count, endOfStream uint32) uint32 {
	return uint32(plugin.RequestHeaders())
}

//go:wasmexport proxy_on_done
func onDone(context uint32) uint32 {
	return 1
}
