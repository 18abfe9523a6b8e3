// The console's addresses.

export type Route = { page: "workspaces" } | { page: "terminal"; workspace: string } | { page: "unknown" };

export function parseRoute(path: string): Route {
  const parts = path.split("/").filter((part) => part !== "");
  if (parts.length === 0) return { page: "workspaces" };
  const [first, workspace] = parts;
  if (first === "workspaces" && workspace !== undefined && parts.length === 2) {
    const id = decoded(workspace);
    if (id !== undefined) return { page: "terminal", workspace: id };
  }
  return { page: "unknown" };
}

export function terminalPath(workspace: string): string {
  return `/workspaces/${encodeURIComponent(workspace)}`;
}

function decoded(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}
