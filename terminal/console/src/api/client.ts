// The API operations the console uses, each sent with the access token.
import { ApiError } from "./envelope";
import { apiPath, type Exchange, type Transport } from "./transport";
import type { TerminalInfo, Workspace, WorkspaceType } from "./types";

/** Where access tokens come from. */
export interface TokenSource {
  /** A token that is not about to expire. */
  current(): Promise<string>;
  /** A newer token than `stale`, which the server called expired. */
  renew(stale: string): Promise<string>;
  /** The server no longer accepts this sign-in at all. */
  rejected(): void;
}

/** The most the API lists at once. */
const MAX_WORKSPACES = 200;

export class ApiClient {
  readonly #transport: Transport;
  readonly #tokens: TokenSource;

  constructor(transport: Transport, tokens: TokenSource) {
    this.#transport = transport;
    this.#tokens = tokens;
  }

  workspaces(): Promise<Workspace[]> {
    return this.#call({ method: "GET", path: `/sessions?limit=${MAX_WORKSPACES}` });
  }

  workspace(id: string): Promise<Workspace> {
    return this.#call({ method: "GET", path: apiPath`/sessions/${id}` });
  }

  createWorkspace(name: string, type: WorkspaceType): Promise<Workspace> {
    return this.#call({ method: "POST", path: "/sessions", body: { name, type } });
  }

  terminals(workspace: string): Promise<TerminalInfo[]> {
    return this.#call({ method: "GET", path: apiPath`/sessions/${workspace}/terminals` });
  }

  createTerminal(workspace: string, size: { cols: number; rows: number }): Promise<TerminalInfo> {
    return this.#call({ method: "POST", path: apiPath`/sessions/${workspace}/terminals`, body: size });
  }

  async #call<T>(exchange: Exchange): Promise<T> {
    const token = await this.#tokens.current();
    try {
      return await this.#send<T>(exchange, token);
    } catch (error) {
      if (!isCode(error, "TOKEN_EXPIRED")) throw this.#noteRejection(error);
    }
    const renewed = await this.#tokens.renew(token);
    try {
      return await this.#send<T>(exchange, renewed);
    } catch (error) {
      throw this.#noteRejection(error);
    }
  }

  #send<T>(exchange: Exchange, token: string): Promise<T> {
    return this.#transport<T>({
      ...exchange,
      headers: { ...exchange.headers, authorization: `Bearer ${token}` },
    });
  }

  #noteRejection(error: unknown): unknown {
    if (error instanceof ApiError && error.status === 401) this.#tokens.rejected();
    return error;
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof ApiError && error.status === 401 && error.code === code;
}
