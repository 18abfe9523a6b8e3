// What must not compile: each `@ts-expect-error` is an error of its own once the line below it is none. Nothing runs.
import { type CoditectClient, dataOf, type ErrorCode, itemsOf } from "../src/index.js";

export async function uses(client: CoditectClient, id: string): Promise<void> {
  const session = await dataOf(client.api.GET("/sessions/{id}", { params: { path: { id } } }));
  const type: "workspace" | "ai-studio" | "theia" = session.type;
  const settings: Record<string, unknown> = session.settings;
  const path: string | undefined = session.workspace_path;
  for await (const each of itemsOf((page) => client.api.GET("/sessions", { params: { query: page } }))) {
    const same: typeof session = each;
    void same;
  }
  const code: ErrorCode = "PRECONDITION_FAILED";
  void [type, settings, path, code];

  // @ts-expect-error a path of old
  await client.api.POST("/sessions/create", { body: { name: "x" } });
  // @ts-expect-error the name is missing
  await client.api.POST("/sessions", { body: {} });
  // @ts-expect-error no such type
  await client.api.POST("/sessions", { body: { name: "x", type: "terminal" } });
  // @ts-expect-error the id is missing
  await client.api.GET("/sessions/{id}");
  // @ts-expect-error no such code
  const unknown: ErrorCode = "NOPE";
  // @ts-expect-error answers are snake_case
  void [unknown, session.workspacePath];
}
