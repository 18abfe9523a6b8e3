// The client: every operation of the document with its types, credentials added, tokens refreshed, failures thrown.
import createFetchClient, { type Client } from "openapi-fetch";
import { ApiError, errorOf } from "./error.js";
import type { components, paths } from "./schema.js";
import { type Login, type RefreshMode, TokenKeeper, type Tokens } from "./tokens.js";

/** Where the API is on its host; the document's `servers`. */
const PREFIX = "/api/v5";
/** How long a call may take to be answered, in milliseconds, unless its caller says otherwise. Uploads have no limit. */
const TIMEOUT_MS = 30_000;

export interface ClientOptions {
  /** The edge's origin, such as `https://ide.example`; in a browser on the edge's own page, `location.origin`. */
  readonly baseUrl: string;
  /** Where the refresh token is kept; `memory` unless given. */
  readonly refresh?: RefreshMode;
  /** A login to go on with. */
  readonly tokens?: Tokens;
  /** Learns of every change of the tokens; `undefined` when the login has ended. */
  readonly onTokens?: (tokens: Tokens | undefined) => void;
  /** How long a call may take to be answered, in milliseconds. */
  readonly timeout?: number;
  /** Instead of the platform's own. */
  readonly fetch?: (request: Request) => Promise<Response>;
}

type Schemas = components["schemas"];

/** A connection to one edge, for one user at a time. Nothing is global: make as many as needed. */
export class CoditectClient {
  /**
   * Every operation: `client.api.GET("/sessions/{id}", { params: { path: { id } } })`. A call that fails rejects with an
   * `ApiError`; see `dataOf` for what one that succeeds resolves to.
   */
  readonly api: Client<paths>;
  readonly #base: string;
  readonly #cookie: boolean;
  readonly #timeout: number;
  readonly #tokens: TokenKeeper;
  readonly #fetch: (request: Request) => Promise<Response>;

  constructor(options: ClientOptions) {
    this.#base = new URL(PREFIX, options.baseUrl).href;
    this.#cookie = options.refresh === "cookie";
    this.#timeout = options.timeout ?? TIMEOUT_MS;
    this.#fetch = options.fetch ?? ((request) => fetch(request));
    const keeper = {
      mode: options.refresh ?? "memory",
      refreshUrl: `${this.#base}/auth/refresh`,
      fetch: (request: Request) => this.#send(request),
      onTokens: options.onTokens,
    };
    this.#tokens = new TokenKeeper(keeper, options.tokens);
    this.api = createFetchClient<paths>({
      baseUrl: this.#base,
      fetch: async (request) => {
        const response = await this.fetch(request);
        if (!response.ok) throw await errorOf(response);
        return response;
      },
    });
  }

  /** Whether there is a login, as far as is known without asking. */
  get isSignedIn(): boolean {
    return this.#tokens.token !== undefined;
  }

  /** Creates a user with a tenant of its own, and signs it in. */
  async register(person: Schemas["RegisterRequest"]): Promise<Schemas["UserResponse"]> {
    return this.#signIn("/auth/register", person);
  }

  /** Signs a user in. */
  async login(credentials: Schemas["LoginRequest"]): Promise<Schemas["UserResponse"]> {
    return this.#signIn("/auth/login", credentials);
  }

  /** Gets a new token now; `mode: "cookie"` pages do so when they are loaded, to go on with the login there was. */
  async refresh(): Promise<void> {
    await this.#tokens.renew(this.#tokens.token);
  }

  /** Ends the login and every socket that was opened with it. The tokens are forgotten, whatever the server says. */
  async logout(): Promise<void> {
    try {
      await this.api.POST("/auth/logout");
    } finally {
      this.#tokens.clear();
    }
  }

  /**
   * Sends a request with the login's token and resolves to the answer, whatever its status; refreshes an expired token
   * once. For what `api` has no types for. A request whose body is a stream cannot be sent twice, so its token is
   * refreshed before, if it has expired by this machine's clock.
   */
  async fetch(request: Request): Promise<Response> {
    if (this.#tokens.isExpired && this.#tokens.canRefresh) await this.#tokens.renew(this.#tokens.token);
    const token = this.#tokens.token;
    // The copy is for the second attempt; without a token there is none.
    const again = token === undefined || request.body === null || isStream(request) ? undefined : request.clone();
    const response = await this.#send(withToken(request, token));
    const retry = request.body === null ? request : again;
    if (response.status !== 401 || token === undefined || retry === undefined || !this.#tokens.canRefresh) {
      return response;
    }
    const error = await errorOf(response.clone());
    if (!(error instanceof ApiError) || error.code !== "TOKEN_EXPIRED") return response;
    await this.#tokens.renew(token);
    return this.#send(withToken(retry, this.#tokens.token));
  }

  /** The address of a path below `/api/v5`, such as `/sessions`. */
  url(path: string): string {
    return this.#base + path;
  }

  async #signIn(path: "/auth/register" | "/auth/login", body: object): Promise<Schemas["UserResponse"]> {
    const headers = { "content-type": "application/json", ...(this.#cookie ? { "x-coditect-refresh": "cookie" } : {}) };
    const request = new Request(this.url(path), { method: "POST", headers, body: JSON.stringify(body) });
    const response = await this.#send(request);
    if (!response.ok) throw await errorOf(response);
    const login: Login = ((await response.json()) as Schemas["LoginAnswer"]).data;
    this.#tokens.store(login);
    return login.user;
  }

  /** One exchange, answered in bounded time. What the answer brings may take longer: its reader has a `signal`. */
  async #send(request: Request): Promise<Response> {
    if (isStream(request)) return this.#fetch(request);
    const limit = new AbortController();
    const late = () => limit.abort(new DOMException(`no answer within ${this.#timeout} ms`, "TimeoutError"));
    const timer = setTimeout(late, this.#timeout);
    try {
      return await this.#fetch(new Request(request, { signal: AbortSignal.any([request.signal, limit.signal]) }));
    } finally {
      clearTimeout(timer);
    }
  }
}

/** A client; see `CoditectClient`. */
export function createClient(options: ClientOptions): CoditectClient {
  return new CoditectClient(options);
}

/** Marks a request whose body is a stream; `Request` itself does not tell. */
const streams = new WeakSet<Request>();

/** A request with a body that is sent as it comes. */
export function streaming(url: string, init: RequestInit & { body: ReadableStream<Uint8Array> }): Request {
  // Node asks for `duplex`, which the types of browsers do not know.
  const request = new Request(url, { ...init, duplex: "half" } as RequestInit);
  streams.add(request);
  return request;
}

function isStream(request: Request): boolean {
  return streams.has(request);
}

function withToken(request: Request, token: string | undefined): Request {
  if (token === undefined) return request;
  const authorized = new Request(request);
  authorized.headers.set("authorization", `Bearer ${token}`);
  if (isStream(request)) streams.add(authorized);
  return authorized;
}
