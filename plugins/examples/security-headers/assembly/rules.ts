//! The configuration: lines, each saying something about one header.

/** What is done about a header. */
export const enum Deed {
  /** Written in place of what the upstream sent. */
  Set,
  /** Written where the upstream sent none. */
  Default,
  /** Taken out. */
  Remove,
}

export class Rule {
  constructor(public deed: Deed, public name: string, public value: string) {}
}

/** The rules, or why there are none. */
export class Parsed {
  rules: Rule[] = [];
  error: string = "";
}

/** Reads a configuration. Without one the rules are `defaults()`. */
export function parse(text: string): Parsed {
  const parsed = new Parsed();
  const lines = text.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i].trim();
    if (line.length == 0 || line.startsWith("#")) continue;
    const rule = parseLine(line);
    if (rule === null) {
      parsed.error = `line ${i + 1} is "${line}"; write "name: value", "?name: value" or "-name"`;
      return parsed;
    }
    parsed.rules.push(rule);
  }
  if (parsed.rules.length == 0) parsed.rules = defaults();
  return parsed;
}

/** What is safe for any page: nothing is guessed, framed by strangers or told to them, and nothing goes without TLS. */
function defaults(): Rule[] {
  return [
    new Rule(Deed.Set, "x-content-type-options", "nosniff"),
    new Rule(Deed.Default, "x-frame-options", "SAMEORIGIN"),
    new Rule(Deed.Default, "referrer-policy", "strict-origin-when-cross-origin"),
    new Rule(Deed.Default, "strict-transport-security", "max-age=31536000"),
    new Rule(Deed.Default, "cache-control", "no-cache"),
    new Rule(Deed.Remove, "server", ""),
    new Rule(Deed.Remove, "x-powered-by", ""),
  ];
}

function parseLine(line: string): Rule | null {
  if (line.startsWith("-")) {
    const name = line.substring(1);
    return isName(name) ? new Rule(Deed.Remove, name.toLowerCase(), "") : null;
  }
  const optional = line.startsWith("?");
  const colon = line.indexOf(":");
  if (colon < 0) return null;
  const name = line.substring(optional ? 1 : 0, colon);
  const value = line.substring(colon + 1).trim();
  if (!isName(name) || !isValue(value)) return null;
  return new Rule(optional ? Deed.Default : Deed.Set, name.toLowerCase(), value);
}

function isName(text: string): bool {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const letter = (code | 0x20) >= 0x61 && (code | 0x20) <= 0x7a;
    const digit = code >= 0x30 && code <= 0x39;
    if (!letter && !digit && code != 0x2d && code != 0x5f) return false;
  }
  return text.length > 0;
}

/** Printable ASCII. */
function isValue(text: string): bool {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code > 0x7e) return false;
  }
  return text.length > 0;
}
