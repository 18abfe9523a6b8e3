// A login's tokens, in memory only, and the one refresh that all calls share.
import { ApiError, errorOf } from "./error.js";
import type { components } from "./schema.js";

/** What a login, a registration and a refresh answer. */
export type Login = components["schemas"]["LoginResponse"];

/**
 * Where the refresh token is kept.
 *
 * - `memory`: here; for Node, and for whoever stores it elsewhere (see `onTokens`).
 * - `cookie`: in an HttpOnly cookie the server sets, out of scripts' reach; for browsers on the edge's own origin.
 */
export type RefreshMode = "memory" | "cookie";

/** What to keep of a login in order to go on with it later. `refreshToken` is absent where a cookie has it. */
export interface Tokens {
  readonly token: string;
  readonly refreshToken?: string | undefined;
}

/** Seconds before its end at which a token counts as expired, for what cannot be sent twice. */
const LEEWAY_SECONDS = 10;

export interface TokenOptions {
  readonly mode: RefreshMode;
  readonly refreshUrl: string;
  readonly fetch: (request: Request) => Promise<Response>;
  readonly onTokens: ((tokens: Tokens | undefined) => void) | undefined;
}

export class TokenKeeper {
  readonly #options: TokenOptions;
  #tokens: Tokens | undefined;
  /** By this machine's clock, in milliseconds since 1970; unknown for tokens that were handed in. */
  #expiresAt: number | undefined;
  #refreshing: Promise<void> | undefined;

  constructor(options: TokenOptions, tokens: Tokens | undefined) {
    this.#options = options;
    this.#tokens = tokens;
  }

  get token(): string | undefined {
    return this.#tokens?.token;
  }

  get isExpired(): boolean {
    return this.#expiresAt !== undefined && Date.now() > this.#expiresAt - LEEWAY_SECONDS * 1000;
  }

  /** Whether there is something to refresh with. A cookie cannot be seen, so it has to be tried. */
  get canRefresh(): boolean {
    return this.#options.mode === "cookie" || this.#tokens?.refreshToken !== undefined;
  }

  /** Takes over from a login or a refresh. */
  store(login: Login): void {
    this.#expiresAt = Date.now() + login.expires_in * 1000;
    this.#keep({ token: login.token, refreshToken: login.refresh_token });
  }

  clear(): void {
    this.#expiresAt = undefined;
    if (this.#tokens !== undefined) this.#keep(undefined);
  }

  /**
   * Gets a token other than `old`. Calls that come while a refresh is under way wait for that one, and those that come
   * after it find its token; so no refresh token is ever sent twice.
   */
  async renew(old: string | undefined): Promise<void> {
    if (this.#tokens !== undefined && this.#tokens.token !== old) return;
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    await this.#refreshing;
  }

  async #refresh(): Promise<void> {
    const { mode, refreshUrl, fetch } = this.#options;
    const cookie = mode === "cookie";
    const headers = { "content-type": "application/json", ...(cookie ? { "x-coditect-refresh": "cookie" } : {}) };
    const body = JSON.stringify(cookie ? {} : { refreshToken: this.#tokens?.refreshToken });
    const response = await fetch(new Request(refreshUrl, { method: "POST", headers, body }));
    if (response.ok) {
      const answer = (await response.json()) as components["schemas"]["LoginAnswer"];
      this.store(answer.data);
      return;
    }
    const error = await errorOf(response);
    // The login has ended. Anything else, such as 503, may pass.
    if (error instanceof ApiError && error.status === 401) this.clear();
    throw error;
  }

  #keep(tokens: Tokens | undefined): void {
    this.#tokens = tokens;
    this.#options.onTokens?.(tokens);
  }
}
