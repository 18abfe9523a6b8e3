// Who an access token was issued to. Read for display only: the server alone judges tokens.
import type { TokenGrant } from "../api/types";

export interface Identity {
  userId: string;
  email: string;
}

export function identityOf(grant: TokenGrant): Identity {
  const claims = claimsOf(grant.token);
  return {
    userId: grant.user?.id ?? stringClaim(claims, "sub"),
    email: grant.user?.email ?? stringClaim(claims, "email"),
  };
}

function claimsOf(token: string): Record<string, unknown> {
  const payload = token.split(".")[1] ?? "";
  try {
    const binary = atob(payload.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(binary, (char) => char.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" && claims !== null ? { ...claims } : {};
  } catch {
    return {};
  }
}

function stringClaim(claims: Record<string, unknown>, name: string): string {
  const value = claims[name];
  return typeof value === "string" ? value : "";
}
