// What the API sends, as far as the console reads it. Field names are the API's own.

export interface User {
  id: string;
  email: string;
  first_name?: string;
  last_name?: string;
}

/** The answer to register, login and refresh. The refresh token is in a cookie no script can read. */
export interface TokenGrant {
  token: string;
  /** Seconds the access token is good for. */
  expires_in: number;
  user?: User;
}

export const WORKSPACE_TYPES = ["workspace", "ai-studio", "theia"] as const;
export type WorkspaceType = (typeof WORKSPACE_TYPES)[number];

/** A workspace; the API calls it a session. Times are RFC 3339. */
export interface Workspace {
  id: string;
  name: string;
  type: WorkspaceType;
  status: string;
  created_at: string;
  last_accessed_at: string;
}

export interface TerminalInfo {
  id: string;
  status: string;
}
