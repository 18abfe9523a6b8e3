package proxywasm

import (
	"strings"
	"unsafe"
)

// Status is what a host function answers.
type Status uint32

const (
	// OK says that it worked.
	OK Status = 0
	// NotFound says that there is no such thing.
	NotFound Status = 1
	// BadArgument says that the host does not take that, or not now.
	BadArgument Status = 2
)

// Level is a log level.
type Level uint32

// The log levels that are used here.
const (
	Info  Level = 2
	Error Level = 4
)

const (
	bufferPluginConfiguration = 7
	mapRequestHeaders         = 0
	everything                = 1<<32 - 1
)

// Log writes a line to the edge's log.
func Log(level Level, message string) {
	hostLog(uint32(level), unsafe.Pointer(unsafe.StringData(message)), uint32(len(message)))
}

// PluginConfiguration is the configuration's bytes. Only in Configure.
func PluginConfiguration() []byte {
	var data unsafe.Pointer
	var size uint32
	if hostGetBuffer(bufferPluginConfiguration, 0, everything, unsafe.Pointer(&data), unsafe.Pointer(&size)) != OK {
		return nil
	}
	return take(data, size)
}

// Property is the value of the property at this path; false where there is none.
func Property(path ...string) (string, bool) {
	joined := strings.Join(path, "\x00")
	var data unsafe.Pointer
	var size uint32
	status := hostGetProperty(
		unsafe.Pointer(unsafe.StringData(joined)), uint32(len(joined)),
		unsafe.Pointer(&data), unsafe.Pointer(&size),
	)
	if status != OK {
		return "", false
	}
	return string(take(data, size)), true
}

// SetRequestHeader writes a header in place of all of that name. Only in RequestHeaders.
func SetRequestHeader(name, value string) Status {
	return hostReplaceHeader(
		mapRequestHeaders,
		unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)),
		unsafe.Pointer(unsafe.StringData(value)), uint32(len(value)),
	)
}

// RemoveRequestHeader takes out all headers of that name. Only in RequestHeaders.
func RemoveRequestHeader(name string) Status {
	return hostRemoveHeader(mapRequestHeaders, unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)))
}
