//! As much of the Proxy-Wasm ABI (0.2.1) as the policy needs. A larger plugin would use an SDK.

/** What a host function answers: 0 is OK. */
type Status = i32;

// Values of the ABI: log levels, buffers, header maps.
export const LOG_WARN: i32 = 3;
export const LOG_ERROR: i32 = 4;
const BUFFER_PLUGIN_CONFIGURATION: i32 = 7;
const MAP_RESPONSE_HEADERS: i32 = 2;
const STATUS_OK: i32 = 0;

// @ts-ignore: decorator
@external("env", "proxy_log")
declare function proxy_log(level: i32, message: usize, size: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_get_buffer_bytes")
declare function proxy_get_buffer_bytes(buffer: i32, start: i32, max: i32, data: usize, size: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_get_header_map_value")
declare function proxy_get_header_map_value(
  map: i32, name: usize, nameSize: usize, data: usize, size: usize,
): Status;
// @ts-ignore: decorator
@external("env", "proxy_replace_header_map_value")
declare function proxy_replace_header_map_value(
  map: i32, name: usize, nameSize: usize, value: usize, valueSize: usize,
): Status;
// @ts-ignore: decorator
@external("env", "proxy_remove_header_map_value")
declare function proxy_remove_header_map_value(map: i32, name: usize, nameSize: usize): Status;

/** Where the host writes the address and the size of what it hands over. */
const returned = memory.data(8);

/** The bytes of a string, as the ABI takes them. */
function bytes(text: string): ArrayBuffer {
  return String.UTF8.encode(text);
}

function address(buffer: ArrayBuffer): usize {
  return changetype<usize>(buffer);
}

/** What the host has handed over, as text. Its memory, which came from `allocate`, is given back. */
function take(): string {
  const data = load<usize>(returned);
  const size = load<usize>(returned, sizeof<usize>());
  if (data == 0) return "";
  const text = String.UTF8.decodeUnsafe(data, size);
  heap.free(data);
  return text;
}

/** Memory for the host to fill. Nothing here is managed, so that the garbage collector leaves it alone. */
export function allocate(size: usize): usize {
  return heap.alloc(size);
}

export function log(level: i32, message: string): void {
  const line = bytes(message);
  proxy_log(level, address(line), line.byteLength);
}

/** The configuration. Only in `proxy_on_configure`. */
export function pluginConfiguration(): string {
  const status = proxy_get_buffer_bytes(
    BUFFER_PLUGIN_CONFIGURATION, 0, i32.MAX_VALUE, returned, returned + sizeof<usize>(),
  );
  return status == STATUS_OK ? take() : "";
}

/** Whether the response has such a header. Only in `proxy_on_response_headers`, like those below. */
export function hasResponseHeader(name: string): bool {
  const key = bytes(name);
  const status = proxy_get_header_map_value(
    MAP_RESPONSE_HEADERS, address(key), key.byteLength, returned, returned + sizeof<usize>(),
  );
  if (status != STATUS_OK) return false;
  take();
  return true;
}

/** Writes a header in place of all of that name; whether the host took it. */
export function setResponseHeader(name: string, value: string): bool {
  const key = bytes(name), content = bytes(value);
  return STATUS_OK == proxy_replace_header_map_value(
    MAP_RESPONSE_HEADERS, address(key), key.byteLength, address(content), content.byteLength,
  );
}

/** Takes out all headers of that name; whether the host did. */
export function removeResponseHeader(name: string): bool {
  const key = bytes(name);
  return STATUS_OK == proxy_remove_header_map_value(MAP_RESPONSE_HEADERS, address(key), key.byteLength);
}

/**
 * In place of the language's own `abort`, which the host does not have (`use` in asconfig.json says so): what a failed
 * assertion or an index out of bounds comes to is a log line, then a trap.
 */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const what = message === null ? "aborted" : message;
  const where = file === null ? "" : ` at ${file}:${line}:${column}`;
  log(LOG_ERROR, what + where);
  unreachable();
}
