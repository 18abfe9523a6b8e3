// One HTTP exchange with the API: no credentials, no retries.
import { UnreachableError, readEnvelope } from "./envelope";

const BASE = "/api/v5";
const TIMEOUT_MS = 20_000;

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

export interface Exchange {
  method: Method;
  /** Below `/api/v5`, with its leading slash. */
  path: string;
  body?: unknown;
  headers?: Record<string, string>;
}

/** Sends one request and returns the `data` of its answer. */
export type Transport = <T>(exchange: Exchange) => Promise<T>;

export function fetchTransport(fetch: typeof globalThis.fetch): Transport {
  return async <T>({ method, path, body, headers }: Exchange): Promise<T> => {
    const init: RequestInit = {
      method,
      headers: { accept: "application/json", ...headers },
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    };
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers = { ...init.headers, "content-type": "application/json" };
    }
    let response: Response;
    try {
      response = await fetch(BASE + path, init);
    } catch (cause) {
      throw new UnreachableError({ cause });
    }
    return readEnvelope<T>(response);
  };
}

/** A path from literal parts and ids, each id encoded. */
export function apiPath(parts: TemplateStringsArray, ...ids: string[]): string {
  return parts.reduce((path, part, index) => path + encodeURIComponent(ids[index - 1] ?? "") + part);
}
