// The client against the real edge.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  ApiError,
  type ClientOptions,
  type CoditectClient,
  createClient,
  dataOf,
  download,
  type ErrorCode,
  idempotencyKey,
  ifMatch,
  itemsOf,
  type Tokens,
  UnexpectedAnswerError,
  upload,
  versionOf,
} from "../src/index.js";
import { Edge, expired } from "./edge.js";

let edge: Edge;
let people = 0;

before(async () => {
  edge = await Edge.start();
});
after(() => edge.stop());

/** A client that notes its requests as `METHOD path`, and what it knows of its tokens. */
function client(options: Partial<ClientOptions> = {}) {
  const sent: string[] = [];
  let tokens: Tokens | undefined;
  const send = options.fetch ?? ((request: Request) => fetch(request));
  const made = createClient({
    baseUrl: edge.url,
    onTokens: (changed) => (tokens = changed),
    ...options,
    fetch: (request) => {
      assert.equal(new URL(request.url).origin, edge.url, "no host but the one given");
      sent.push(`${request.method} ${new URL(request.url).pathname}`);
      return send(request);
    },
  });
  return { client: made, sent, tokens: () => tokens };
}

function person() {
  people += 1;
  return { email: `person-${people}@example.com`, password: "correct horse", firstName: "Ada", lastName: "Lovelace" };
}

/** A signed-in client. */
async function signedIn(options: Partial<ClientOptions> = {}) {
  const made = client(options);
  const user = await made.client.register(person());
  return { ...made, user };
}

async function refused(call: Promise<unknown>, status: number, code: ErrorCode): Promise<ApiError> {
  const error = await call.then(
    () => assert.fail("it was not refused"),
    (error: unknown) => error,
  );
  assert.ok(error instanceof ApiError, String(error));
  assert.deepEqual([error.status, error.code], [status, code], error.message);
  assert.match(error.requestId ?? "", /^[-0-9a-f]{36}$/);
  return error;
}

function create(client: CoditectClient, name: string) {
  return dataOf(client.api.POST("/sessions", { body: { name } }));
}

test("outage 5: what the front end calls is what the API does", async (t) => {
  const { client: api, user } = await signedIn();
  let id = "";

  await t.test("a session is created at /sessions, with its type and settings in data", async () => {
    const body = { name: "first", type: "theia", workspacePath: "/home/ada", settings: { theme: "dark" } } as const;
    const { data, response } = await api.api.POST("/sessions", { body });
    assert.equal(response.status, 201);
    assert.ok(data);
    assert.equal(data.success, true);
    assert.deepEqual([data.data.type, data.data.settings], ["theia", { theme: "dark" }]);
    assert.deepEqual([data.data.user_id, data.data.tenant_id], [user.id, user.tenant_id]);
    assert.equal(data.data.workspace_path, "/home/ada");
    id = data.data.id;
  });

  await t.test("the list is data itself, each with type and settings", async () => {
    const { data } = await api.api.GET("/sessions");
    assert.ok(data && Array.isArray(data.data));
    assert.deepEqual(data.data.map((session) => session.id), [id]);
    assert.deepEqual([data.data[0]?.type, data.data[0]?.settings], ["theia", { theme: "dark" }]);
    assert.equal(data.next_cursor, null);
  });

  await t.test("PUT replaces, PATCH changes", async () => {
    const at = { params: { path: { id } } };
    const replaced = await dataOf(api.api.PUT("/sessions/{id}", { ...at, body: { name: "second" } }));
    assert.deepEqual([replaced.name, replaced.type, replaced.settings], ["second", "workspace", {}]);
    assert.equal(replaced.workspace_path, undefined);
    const changed = await dataOf(api.api.PATCH("/sessions/{id}", { ...at, body: { settings: { tab: 4 } } }));
    assert.deepEqual([changed.name, changed.settings], ["second", { tab: 4 }]);
    assert.deepEqual(await dataOf(api.api.GET("/sessions/{id}", at)), changed);
    await dataOf(api.api.DELETE("/sessions/{id}", at));
    await refused(api.api.GET("/sessions/{id}", at), 404, "NOT_FOUND");
  });

  await t.test("the paths of old are not there", async () => {
    const answer = await api.fetch(new Request(api.url("/sessions/create"), { method: "POST" }));
    assert.ok([404, 405].includes(answer.status), `${answer.status}`);
  });

  await t.test("a wrong field is named", async () => {
    const error = await refused(api.api.POST("/sessions", { body: { name: "" } }), 422, "VALIDATION_FAILED");
    assert.match(error.message, /^name: /);
  });
});

test("20 calls with an expired token make one refresh, and all succeed", async () => {
  const { tokens } = await signedIn();
  const known = tokens();
  assert.ok(known);
  const { client: api, sent, tokens: renewed } = client({ tokens: { ...known, token: expired(known.token) } });
  const calls = Array.from({ length: 20 }, () => dataOf(api.api.GET("/sessions")));
  assert.deepEqual(await Promise.all(calls), Array.from({ length: 20 }, () => []));
  assert.equal(sent.filter((line) => line === "POST /api/v5/auth/refresh").length, 1);
  assert.notEqual(renewed()?.refreshToken, known.refreshToken);
});

test("a body is sent again whole after a refresh", async () => {
  const { tokens } = await signedIn();
  const known = tokens();
  assert.ok(known);
  const { client: api, sent } = client({ tokens: { ...known, token: expired(known.token) } });
  const session = await create(api, "twice sent");
  assert.equal(session.name, "twice sent");
  assert.deepEqual(sent, ["POST /api/v5/sessions", "POST /api/v5/auth/refresh", "POST /api/v5/sessions"]);
});

test("after a logout neither token is good, and the client knows", async () => {
  const { client: api, tokens } = await signedIn();
  const known = tokens();
  assert.ok(known);
  await api.logout();
  assert.deepEqual([api.isSignedIn, tokens()], [false, undefined]);
  await refused(api.api.GET("/sessions"), 401, "MISSING_AUTH_HEADER");

  const revoked = client({ tokens: known }).client;
  await refused(revoked.api.GET("/sessions"), 401, "TOKEN_REVOKED");
  const late = client({ tokens: { ...known, token: expired(known.token) } });
  await refused(late.client.api.GET("/sessions"), 401, "TOKEN_REVOKED");
  assert.equal(late.client.isSignedIn, false);
});

test("a refresh that fails for other reasons leaves the login as it is", async () => {
  const { tokens } = await signedIn();
  const known = tokens();
  assert.ok(known);
  let down = true;
  const { client: api } = client({
    tokens: { ...known, token: expired(known.token) },
    fetch: (request) =>
      down && request.url.endsWith("/auth/refresh") ? Promise.reject(new TypeError("fetch failed")) : fetch(request),
  });
  await assert.rejects(api.api.GET("/sessions"), TypeError);
  assert.equal(api.isSignedIn, true);
  down = false;
  assert.deepEqual(await dataOf(api.api.GET("/sessions")), []);
});

test("in a browser's mode no script sees the refresh token, and the cookie refreshes", async () => {
  const jar = new Map<string, string>();
  const browser = async (request: Request) => {
    const cookies = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    if (cookies && request.url.includes("/auth/")) request.headers.set("cookie", cookies);
    const response = await fetch(request);
    for (const line of response.headers.getSetCookie()) {
      assert.match(line, /; HttpOnly; SameSite=Strict/);
      const [name, value] = (line.split(";")[0] ?? "").split("=");
      if (name !== undefined && value !== undefined) jar.set(name, value);
    }
    return response;
  };
  const first = await signedIn({ refresh: "cookie", fetch: browser });
  assert.equal(first.tokens()?.refreshToken, undefined);
  assert.equal(jar.size, 1);

  const reloaded = client({ refresh: "cookie", fetch: browser });
  await reloaded.client.refresh();
  assert.deepEqual(await dataOf(reloaded.client.api.GET("/sessions")), []);
  await reloaded.client.logout();
  await refused(reloaded.client.refresh(), 401, "MISSING_AUTH_HEADER");
});

test("a change of what somebody else has changed is refused with 412", async () => {
  const { client: api } = await signedIn();
  const made = await versionOf(api.api.POST("/sessions", { body: { name: "shared" } }));
  const path = { id: made.data.id };
  const rename = (name: string, version: string) =>
    versionOf(api.api.PATCH("/sessions/{id}", { params: { path, header: ifMatch(version) }, body: { name } }));
  const changed = await rename("first", made.version);
  assert.notEqual(changed.version, made.version);
  await refused(rename("second", made.version), 412, "PRECONDITION_FAILED");
  assert.equal((await rename("second", changed.version)).data.name, "second");
});

test("a create that is sent twice with one key creates once", async () => {
  const { client: api } = await signedIn();
  const headers = idempotencyKey();
  const once = () => dataOf(api.api.POST("/sessions", { headers, body: { name: "once" } }));
  assert.equal((await once()).id, (await once()).id);
  assert.equal((await dataOf(api.api.GET("/sessions"))).length, 1);
});

test("files go up as they come and come down whole or in part", async () => {
  const { client: api } = await signedIn();
  const place = { session: (await create(api, "files")).id, path: "src/ä b#?.txt" };
  const part = new Uint8Array(65_536).fill(7);
  let left = 32;
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (left === 0) return controller.close();
      left -= 1;
      controller.enqueue(part);
    },
  });
  const made = await upload(api, place, stream);
  assert.equal(made.created, true);
  assert.equal((await (await download(api, place)).arrayBuffer()).byteLength, 32 * part.length);
  const some = await download(api, place, { range: { first: 10, last: 19 } });
  assert.deepEqual([some.status, (await some.arrayBuffer()).byteLength], [206, 10]);
  const changed = await upload(api, place, "short", { ifMatch: made.etag });
  assert.equal(changed.created, false);
  assert.equal(await (await download(api, place)).text(), "short");
  await refused(upload(api, place, "late", { ifMatch: made.etag }), 412, "PRECONDITION_FAILED");
});

test("all items of a list come, part by part", async () => {
  const { client: api, sent } = await signedIn();
  const names = ["a", "b", "c", "d", "e"];
  for (const name of names) await create(api, name);
  const before = sent.length;
  const found: string[] = [];
  for await (const session of itemsOf((page) => api.api.GET("/sessions", { params: { query: { ...page, limit: 2 } } }))) {
    found.push(session.name);
  }
  assert.deepEqual(found.sort(), names);
  assert.ok(sent.length - before >= 3, `${sent.length - before} parts`);
});

test("a call that is not answered ends", async () => {
  const silent = (request: Request) =>
    new Promise<Response>((_, reject) => request.signal.addEventListener("abort", () => reject(request.signal.reason)));
  const { client: api } = client({ timeout: 20, fetch: silent });
  await assert.rejects(api.api.GET("/health"), { name: "TimeoutError" });
});

test("an answer that is not the API's is told apart", async () => {
  const { client: api } = client({ fetch: async () => new Response("<h1>Bad Gateway</h1>", { status: 502 }) });
  await assert.rejects(api.api.GET("/health"), UnexpectedAnswerError);
});
