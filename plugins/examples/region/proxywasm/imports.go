package proxywasm

import "unsafe"

// The host's functions, as the specification of ABI 0.2.1 declares them. Only those this policy needs.

//go:wasmimport env proxy_log
func hostLog(level uint32, message unsafe.Pointer, messageSize uint32) Status

//go:wasmimport env proxy_get_buffer_bytes
func hostGetBuffer(buffer, start, maxSize uint32, returnData, returnSize unsafe.Pointer) Status

//go:wasmimport env proxy_get_property
func hostGetProperty(path unsafe.Pointer, pathSize uint32, returnData, returnSize unsafe.Pointer) Status

//go:wasmimport env proxy_replace_header_map_value
func hostReplaceHeader(mapType uint32, name unsafe.Pointer, nameSize uint32, value unsafe.Pointer, valueSize uint32) Status

//go:wasmimport env proxy_remove_header_map_value
func hostRemoveHeader(mapType uint32, name unsafe.Pointer, nameSize uint32) Status
