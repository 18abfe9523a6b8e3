//! Writes headers that keep browsers out of trouble onto responses: a policy in AssemblyScript, without an SDK.
//!
//! Configuration, text, one header a line; without one the rules are those in rules.ts, `defaults`:
//!
//!     # always this value
//!     x-content-type-options: nosniff
//!     # where the upstream says nothing itself
//!     ?cache-control: no-cache
//!     # never
//!     -x-powered-by
//!
//! A header the edge lets no plugin write (`content-length`, `set-cookie` and the like) is left as it is, and the log
//! says so once for each instance.

import {
  LOG_ERROR, LOG_WARN, allocate, hasResponseHeader, log, pluginConfiguration, removeResponseHeader, setResponseHeader,
} from "./host";
import { Deed, Rule, parse } from "./rules";

let rules: Rule[] = [];
/** Names the edge has refused, told already. */
const refused = new Set<string>();

function apply(rule: Rule): bool {
  switch (rule.deed) {
    case Deed.Remove: return removeResponseHeader(rule.name);
    case Deed.Default: if (hasResponseHeader(rule.name)) return true;
    default: return setResponseHeader(rule.name, rule.value);
  }
}

export function proxy_abi_version_0_2_1(): void {}

export function proxy_on_memory_allocate(size: usize): usize {
  return allocate(size);
}

export function proxy_on_context_create(context: u32, parent: u32): void {}

export function proxy_on_vm_start(context: u32, configurationSize: u32): u32 {
  return 1;
}

export function proxy_on_configure(context: u32, configurationSize: u32): u32 {
  const parsed = parse(pluginConfiguration());
  if (parsed.error.length > 0) {
    log(LOG_ERROR, "security-headers: the configuration is refused: " + parsed.error);
    return 0;
  }
  rules = parsed.rules;
  return 1;
}

export function proxy_on_response_headers(context: u32, count: u32, endOfStream: u32): u32 {
  for (let i = 0; i < rules.length; i++) {
    const rule = rules[i];
    if (apply(rule) || refused.has(rule.name)) continue;
    refused.add(rule.name);
    log(LOG_WARN, `security-headers: the edge lets no plugin write ${rule.name}`);
  }
  return 0;
}

export function proxy_on_done(context: u32): u32 {
  return 1;
}
