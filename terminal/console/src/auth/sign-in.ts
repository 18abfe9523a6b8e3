// Who is signed in: the access token, kept in memory only, and its renewal.
//
// The refresh token is an HttpOnly cookie. The browser sends it by itself, and only to the
// paths that need it; the header below asks the server to keep it there.
import { ApiError } from "../api/envelope";
import type { Transport } from "../api/transport";
import type { TokenSource } from "../api/client";
import type { TokenGrant } from "../api/types";
import { type Identity, identityOf } from "./identity";

const COOKIE_MODE = { "x-coditect-refresh": "cookie" };

/** A token is renewed when this share of its life is left, but never earlier than `MAX_LEAD_MS` before its end. */
const LEAD_SHARE = 0.1;
const MAX_LEAD_MS = 60_000;
/** How long to wait before trying again when the server could not be reached to renew a token. */
const RETRY_MS = 5_000;

export type SignInState =
  /** Not yet known: the page has just loaded. */
  | { kind: "unknown" }
  /** Nobody; `ended` when a sign-in was ended from elsewhere, `left` when it was ended here. */
  | { kind: "out"; reason: "none" | "ended" | "left" }
  | { kind: "in"; identity: Identity };

export interface Registration {
  email: string;
  password: string;
  firstName: string;
  lastName: string;
}

/** What the sign-in needs from the world. */
export interface SignInDeps {
  transport: Transport;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Runs `task` after a delay; the returned function cancels it. */
  after(ms: number, task: () => void): () => void;
  /** Runs `task` while no other tab of this origin runs one. */
  exclusively<T>(task: () => Promise<T>): Promise<T>;
  /** Tells the other tabs that this sign-in is over. */
  announceEnd(): void;
}

/** Thrown to callers who need a token when nobody is signed in. */
export class SignedOutError extends Error {
  override readonly name = "SignedOutError";

  constructor() {
    super("Your sign-in has ended.");
  }
}

export class SignIn implements TokenSource {
  readonly #deps: SignInDeps;
  readonly #listeners = new Set<(state: SignInState) => void>();
  #state: SignInState = { kind: "unknown" };
  #token: string | undefined;
  #renewAt = 0;
  /** A sign-out is under way; `heard` when the server has shown by other means that it took effect. */
  #leaving: { heard: boolean } | undefined;
  #renewal: Promise<string> | undefined;
  #cancelTimer: () => void = () => undefined;

  constructor(deps: SignInDeps) {
    this.#deps = deps;
  }

  get state(): SignInState {
    return this.#state;
  }

  /** Calls `listener` on every change of who is signed in; the returned function stops that. */
  subscribe(listener: (state: SignInState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Finds out, on page load, whether the browser still holds a sign-in. */
  async restore(): Promise<void> {
    try {
      await this.#renewOnce();
    } catch (error) {
      if (!(error instanceof SignedOutError)) throw error;
    }
  }

  async register(registration: Registration): Promise<void> {
    this.#accept(await this.#post("/auth/register", registration));
  }

  async login(email: string, password: string): Promise<void> {
    this.#accept(await this.#post("/auth/login", { email, password }));
  }

  /** Ends the sign-in on the server, then here. Where the server did not hear it, nothing has changed. */
  async logout(): Promise<void> {
    const leaving = { heard: false };
    this.#leaving = leaving;
    try {
      const token = await this.current();
      try {
        await this.#post("/auth/logout", {}, token);
      } catch (error) {
        if (!(error instanceof ApiError) || error.code !== "TOKEN_EXPIRED") throw error;
        await this.#post("/auth/logout", {}, await this.renew(token));
      }
    } catch (error) {
      const already =
        leaving.heard || error instanceof SignedOutError || (error instanceof ApiError && error.status === 401);
      if (!already) throw error;
    } finally {
      this.#leaving = undefined;
    }
    this.#end("left");
    this.#deps.announceEnd();
  }

  async current(): Promise<string> {
    if (this.#token !== undefined && this.#deps.now() < this.#renewAt) return this.#token;
    if (this.#state.kind === "out") throw new SignedOutError();
    return this.#renewOnce();
  }

  /** The access token right now, for a caller that cannot wait; absent when it must be renewed first. */
  peek(): string | undefined {
    return this.#deps.now() < this.#renewAt ? this.#token : undefined;
  }

  async renew(stale: string): Promise<string> {
    // Another caller may have renewed it while this one's request was under way.
    if (this.#token !== undefined && this.#token !== stale) return this.#token;
    if (this.#state.kind === "out") throw new SignedOutError();
    return this.#renewOnce();
  }

  rejected(): void {
    // A terminal's socket hears of a sign-out before the request that asked for it is answered.
    // The answer is waited for: it removes the cookie, and must not do so to a next sign-in.
    if (this.#leaving) this.#leaving.heard = true;
    else if (this.#state.kind === "in") this.#end("ended");
  }

  /** Another tab signed out. */
  endedElsewhere(): void {
    if (this.#state.kind === "in") this.#end("left");
  }

  /** Renews at once if the time has come while timers were not running (a sleeping laptop). */
  wake(): void {
    if (this.#state.kind === "in" && this.#deps.now() >= this.#renewAt) this.#renewInBackground();
  }

  #renewOnce(): Promise<string> {
    this.#renewal ??= this.#deps
      .exclusively(() => this.#refresh())
      .finally(() => {
        this.#renewal = undefined;
      });
    return this.#renewal;
  }

  async #refresh(): Promise<string> {
    let grant: TokenGrant;
    try {
      grant = await this.#post("/auth/refresh", {});
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
      this.#end(this.#state.kind === "in" || error.code !== "MISSING_AUTH_HEADER" ? "ended" : "none");
      throw new SignedOutError();
    }
    // Signed out while the answer was on its way.
    if (this.#state.kind === "out") throw new SignedOutError();
    this.#accept(grant);
    return grant.token;
  }

  #post(path: string, body: unknown, token?: string): Promise<TokenGrant> {
    const headers: Record<string, string> = { ...COOKIE_MODE };
    if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
    return this.#deps.transport<TokenGrant>({ method: "POST", path, body, headers });
  }

  #accept(grant: TokenGrant): void {
    const identity = identityOf(grant);
    const life = grant.expires_in * 1000;
    const delay = Math.max(0, life - Math.min(MAX_LEAD_MS, life * LEAD_SHARE));
    const same = this.#state.kind === "in" && this.#state.identity.userId === identity.userId;
    this.#token = grant.token;
    this.#renewAt = this.#deps.now() + delay;
    this.#schedule(delay);
    // An ordinary renewal changes nothing a person sees.
    if (!same) this.#set({ kind: "in", identity });
  }

  #schedule(delay: number): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#deps.after(delay, () => this.#renewInBackground());
  }

  #renewInBackground(): void {
    this.#renewOnce().catch(() => {
      // Where the sign-in is over, the state says so; any other failure is tried again.
      if (this.#state.kind === "in") this.#schedule(RETRY_MS);
    });
  }

  #end(reason: "none" | "ended" | "left"): void {
    if (this.#state.kind === "out") return;
    this.#cancelTimer();
    this.#token = undefined;
    this.#renewAt = 0;
    this.#set({ kind: "out", reason });
  }

  #set(state: SignInState): void {
    this.#state = state;
    for (const listener of [...this.#listeners]) listener(state);
  }
}
