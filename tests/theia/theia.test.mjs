// The real Theia behind the edge, in a real browser: nothing of it without a token; opened from the
// console it works, survives a reload, and ends with the sign-in.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { after, before, test } from "node:test";
import {
  createWorkspace,
  openBrowser,
  PAGE_MS,
  Process,
  register,
  scratch,
  screenshot,
  startEdge,
  watch,
} from "../browser/support.mjs";
import { explained } from "../browser/explained.mjs";
import { described, ready, SHELL_ENVIRONMENT, showPanel, showTerminal, terminalPrints } from "./page.mjs";

const BUILT = path.resolve(import.meta.dirname, "../../target/theia");
/** How soon sockets are closed after a sign-out. */
const CLOSED_WITHIN_MS = 1_000;
/** Retries waited for after a sign-out; Theia makes them for ever, at growing distances up to 10 s. */
const RETRIES = 3;

const PERSON = {
  firstName: "Grace",
  lastName: "Hopper",
  email: "grace@example.test",
  password: "a nanosecond of wire",
};

let place;
let theia;
let edge;
let browser;

before(async () => {
  place = await scratch();
  const home = path.join(place.directory, "home");
  const workspace = path.join(place.directory, "workspace");
  await Promise.all([mkdir(home), mkdir(workspace)]);
  theia = new Process(
    process.execPath,
    ["lib/backend/main.js", "--hostname", "127.0.0.1", "--port", "0", workspace],
    {
      cwd: BUILT,
      env: {
        ...SHELL_ENVIRONMENT,
        PATH: process.env.PATH,
        HOME: home,
        THEIA_CONFIG_DIR: path.join(home, ".theia"),
        // Reconnections resume the channels of before only where it waits for the page that long.
        FRONTEND_CONNECTION_TIMEOUT: "60000",
      },
    },
  );
  const [address] = await theia.printed(/http:\/\/127\.0\.0\.1:\d+/);
  edge = await startEdge(place.directory, { theia: address });
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await edge?.stop();
  await theia?.stop();
  await place?.remove();
});

test("without a token nothing of Theia is served", async (t) => {
  const workspace = "6f1f6a2e-6a3e-4c9b-9d50-0d7a36f6a0c1";
  for (const prefix of ["/theia", `/theia/${workspace}`]) {
    for (const rest of ["/", "/index.html", "/bundle.js", "/bundle.css", "/editor.worker.js", "/socket.io/?EIO=4&transport=polling"]) {
      await t.test(`GET ${prefix}${rest}`, async () => assertRefused(await request("GET", prefix + rest)));
    }
    for (const [method, rest] of [["POST", "/socket.io/?EIO=4&transport=polling"], ["PUT", "/files"], ["POST", "/file-upload"]]) {
      await t.test(`${method} ${prefix}${rest}`, async () => assertRefused(await request(method, prefix + rest)));
    }
    for (const rest of ["/socket.io/?EIO=4&transport=websocket", "/services"]) {
      await t.test(`upgrade ${prefix}${rest}`, async () => assertRefused(await request("GET", prefix + rest, UPGRADE)));
    }
  }
  await t.test("a made-up token is no better", async () => {
    const answer = await request("GET", `/theia/?token=${"x".repeat(40)}&sessionId=${workspace}`);
    assertRefused(answer, "INVALID_TOKEN");
  });
});

test("opened from the console, Theia works until the sign-in ends", async (t) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  context.setDefaultTimeout(PAGE_MS);
  await context.addInitScript(recordSockets);
  const problems = watch(context, [
    /^401: POST \/api\/v5\/auth\/refresh$/,
    // A page that is left drops what it still waits for.
    /^failed: (GET|POST) \/theia\/[-0-9a-f]{36}\/socket\.io\/: net::ERR_ABORTED$/,
  ]);
  const answers = recordAnswers(context);
  const console_ = await context.newPage();
  await console_.goto(edge.url);
  await register(console_, PERSON);
  const row = await createWorkspace(console_, "Compiler", "theia");
  const workspace = await row.getAttribute("data-id");
  const socketIo = `${edge.url.replace("http", "ws")}/theia/${workspace}/socket.io/`;
  let page;
  const outputs = () => ({ theia: theia.output, edge: edge.log() });
  const describe = (shown) => (shown === page ? described(shown) : shown.evaluate(() => document.body.innerText));
  const step = (name, run) => t.test(name, () => explained(name, { context, problems, outputs, describe }, run));

  await step("the console's button opens it, and its address holds no token", async () => {
    const opened = context.waitForEvent("page");
    await row.getByTestId("open-theia").click();
    page = await opened;
    await ready(page);
    assert.equal(withoutFragment(page.url()), `${edge.url}/theia/${workspace}/`);
    const traces = await page.evaluate(() => [document.referrer, ...performance.getEntries().map(({ name }) => name)]);
    assert.deepEqual(traces.filter((trace) => trace.includes("token=")), []);
    await screenshot(page, "theia-1-opened");
  });

  await step("its cookie is out of scripts' reach and for this workspace only", async () => {
    const readable = await page.evaluate(() => document.cookie);
    assert.equal(readable, "");
    const cookies = await context.cookies(`${edge.url}/theia/${workspace}/`);
    const scopes = Object.fromEntries(cookies.map(({ name, path: scope }) => [name, scope]));
    assert.deepEqual(scopes, {
      "coditect-workspace": `/theia/${workspace}/`,
      // Which workspace was opened last; it opens none.
      "coditect-last-workspace": "/theia",
      // Theia's own, kept apart from other workspaces'.
      "theia-connection-token": `/theia/${workspace}/`,
    });
    assert.ok(cookies.every(({ httpOnly }) => httpOnly));
  });

  await step("its terminal prints 42, over a WebSocket of the edge", async () => {
    await upgraded(page, socketIo);
    const before = polls(answers);
    await showPanel(page);
    await showTerminal(page);
    await terminalPrints(page, "echo $((6*7))", /^42$/m);
    assert.equal(polls(answers), before, "answers to polling, by which Theia goes without a WebSocket");
    await screenshot(page, "theia-2-terminal");
  });

  await step("the page survives a reload, and its terminal with it", async () => {
    await terminalPrints(page, "marker=kept; echo set-$marker", /^set-kept$/m);
    await page.reload();
    await ready(page);
    await upgraded(page, socketIo);
    await showTerminal(page);
    await terminalPrints(page, "echo still-$marker", /^still-kept$/m);
    await screenshot(page, "theia-3-reloaded");
  });

  await step("a socket.io session's id opens nothing without the cookie", async () => {
    const id = answers.map(({ url }) => url.searchParams.get("sid")).findLast((sid) => sid !== null);
    assert.ok(id, "no sid was seen");
    for (const [transport, headers] of [["polling", {}], ["websocket", UPGRADE]]) {
      const target = `/theia/${workspace}/socket.io/?EIO=4&transport=${transport}&sid=${id}`;
      assertRefused(await request("GET", target, headers));
    }
  });
  problems.assertNone();

  await step("a sign-out in the console ends its socket", async () => {
    const before = await page.evaluate(() => window.recordedSockets.filter(({ opened, closed }) => opened && !closed).length);
    assert.equal(before, 1, "sockets that are open");
    const answered = console_.waitForResponse((response) => response.url().endsWith("/auth/logout"));
    await console_.getByTestId("sign-out").click();
    await answered;
    const since = Date.now();
    // By the page's own clock, which is the same, lest a busy machine's delay in asking counts.
    const closed = await page.waitForFunction(() => window.recordedSockets.find(({ code }) => code === 4001)?.closedAt);
    const took = (await closed.jsonValue()) - since;
    assert.ok(took <= CLOSED_WITHIN_MS, `closed ${took} ms after the sign-out was answered`);
  });

  await step("every retry is refused", async () => {
    const known = await page.evaluate(() => window.recordedSockets.length);
    const retries = await nextAnswers(context, RETRIES, (url) => url.pathname.startsWith("/theia/"));
    assert.deepEqual(retries, Array(RETRIES).fill(401));
    const later = await page.evaluate((from) => window.recordedSockets.slice(from), known);
    assert.deepEqual(later.filter(({ opened }) => opened), []);
    const refused = await page.reload();
    assert.equal(refused?.status(), 401);
    await screenshot(console_, "theia-4-signed-out");
  });

  await context.close();
});

const UPGRADE = {
  Connection: "Upgrade",
  Upgrade: "websocket",
  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version": "13",
};

/** One request without credentials; `upgraded` where the answer was a 101. */
function request(method, target, headers = {}) {
  return new Promise((resolve, reject) => {
    const sent = http.request(edge.url + target, { method, headers: { Origin: edge.url, ...headers } });
    sent.on("error", reject);
    sent.on("upgrade", (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode, headers: response.headers, body: "" });
    });
    sent.on("response", (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text) => (body += text));
      response.on("error", reject).on("end", () => resolve({ status: response.statusCode, headers: response.headers, body }));
    });
    sent.end();
  });
}

/** The answer is the edge's own refusal, and carries nothing of Theia's. */
function assertRefused({ status, headers, body }, code = "MISSING_AUTH_HEADER") {
  assert.equal(status, 401, body);
  assert.equal(JSON.parse(body).error.code, code);
  assert.equal(headers["set-cookie"], undefined);
}

/** Runs in the page: keeps what became of each WebSocket in `window.recordedSockets`. */
function recordSockets() {
  const sockets = [];
  window.recordedSockets = sockets;
  window.WebSocket = class extends WebSocket {
    constructor(...args) {
      super(...args);
      const record = { url: this.url, opened: false, closed: false, received: 0 };
      sockets.push(record);
      this.addEventListener("open", () => (record.opened = true));
      this.addEventListener("message", () => (record.received += 1));
      this.addEventListener("close", ({ code }) => Object.assign(record, { closed: true, closedAt: Date.now(), code }));
    }
  };
}

/**
 * Waits until Theia's traffic has moved from polling to a WebSocket. The first message on the socket answers
 * the question whether it works; with the second, it is in use.
 */
async function upgraded(page, address) {
  const inUse = (wanted) => window.recordedSockets.some(({ url, received }) => url.startsWith(wanted) && received > 1);
  await page.waitForFunction(inUse, address);
}

/** How many answers came by polling. */
function polls(answers) {
  return answers.filter(({ url }) => url.searchParams.get("transport") === "polling").length;
}

/** Every answer to any page of the context, as it comes. */
function recordAnswers(context) {
  const answers = [];
  context.on("response", (response) => answers.push({ url: new URL(response.url()), status: response.status() }));
  return answers;
}

/** The statuses of the next `count` answers to addresses that `wanted` accepts. */
async function nextAnswers(context, count, wanted) {
  const statuses = [];
  const isWanted = (response) => wanted(new URL(response.url()));
  while (statuses.length < count) {
    const response = await context.waitForEvent("response", { predicate: isWanted, timeout: PAGE_MS });
    statuses.push(response.status());
  }
  return statuses;
}

function withoutFragment(address) {
  const url = new URL(address);
  url.hash = "";
  return url.href;
}
