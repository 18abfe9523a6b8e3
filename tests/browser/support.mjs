// What the browser tests share: the real edge in a directory of its own, headless Chromium, and
// a watch over everything a page reports.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";

const ROOT = path.resolve(import.meta.dirname, "../..");
const EDGE = path.resolve(ROOT, process.env.CODITECT_EDGE_BIN ?? "target/debug/coditect-edge");
const CHROMIUM = process.env.CODITECT_CHROMIUM ?? "/usr/bin/chromium";
const SCREENSHOTS = path.join(ROOT, "target/screenshots");

/** How long a process may take to say that it is up, and to go when asked. */
const START_MS = 60_000;
const STOP_MS = 30_000;
/** How long any one thing may take to appear on a page. A busy machine with a cold cache needs seconds. */
export const PAGE_MS = 60_000;

/** A child process whose output is kept, for patterns to be waited for and for reports of failure. */
export class Process {
  #child;
  #waiting = new Set();
  output = "";

  constructor(command, args, options) {
    this.name = path.basename(command);
    this.#child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    this.exited = new Promise((resolve) => {
      this.#child.on("error", (error) => resolve(error.message));
      this.#child.on("exit", (code, signal) => resolve(signal ?? code));
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        this.output += text;
        for (const look of this.#waiting) look();
      });
    }
  }

  /** The first match of a pattern in what the process has printed or will print. */
  async printed(pattern) {
    let look;
    const found = new Promise((resolve) => {
      look = () => {
        const match = pattern.exec(this.output);
        if (match) resolve(match);
      };
    });
    this.#waiting.add(look);
    look();
    try {
      const gone = this.exited.then((how) => Promise.reject(this.#complaint(`ended early (${how})`)));
      return await within(START_MS, Promise.race([found, gone]), () => this.#complaint(`did not print ${pattern}`));
    } finally {
      this.#waiting.delete(look);
    }
  }

  /** Asks the process to go, and returns its exit code or the signal that ended it. */
  async stop(signal = "SIGTERM") {
    this.#child.kill(signal);
    try {
      return await within(STOP_MS, this.exited, () => this.#complaint(`did not end on ${signal}`));
    } catch (error) {
      this.#child.kill("SIGKILL");
      throw error;
    }
  }

  #complaint(what) {
    return new Error(`${this.name} ${what}; its output:\n${this.output}`);
  }
}

/** A directory for one test; removed by the returned `remove`. */
export async function scratch() {
  const directory = await mkdtemp(path.join(tmpdir(), "coditect-browser-"));
  return { directory, remove: () => rm(directory, { recursive: true, force: true, maxRetries: 5 }) };
}

/**
 * Starts the edge on the configuration it ships with, but for its addresses.
 * `theia` is the upstream of `/theia`; without one, an address nobody listens on. `http` is where to
 * listen, for an edge that takes the place of an earlier one; any free port otherwise.
 */
export async function startEdge(directory, { theia = "http://127.0.0.1:9", http = "127.0.0.1:0" } = {}) {
  const shipped = await readFile(path.join(ROOT, "config/edge.toml"), "utf8");
  const config = replaceAll(shipped, {
    'http = "127.0.0.1:8080"': `http = "${http}"`,
    'admin = "127.0.0.1:9090"': 'admin = "127.0.0.1:0"',
    'address = "http://localhost:3000"': `address = "${theia}"`,
  });
  const file = path.join(directory, "edge.toml");
  await writeFile(file, config);
  const { HOST, PORT, JWT_SECRET, ...env } = process.env;
  const edge = new Process(EDGE, ["--config", file], { cwd: directory, env });
  const [, url] = await edge.printed(/^\s*http\s+(http:\/\/\S+)/m);
  const [, admin] = await edge.printed(/^\s*admin\s+(http:\/\/\S+)/m);
  return {
    url,
    admin,
    log: () => edge.output,
    /** A graceful stop; it has to succeed. */
    async stop() {
      assert.equal(await edge.stop(), 0, `the edge's exit code; its output:\n${edge.output}`);
    },
  };
}

function replaceAll(text, replacements) {
  return Object.entries(replacements).reduce((result, [from, to]) => {
    assert.equal(result.split(from).length, 2, `config/edge.toml no longer holds ${from} once`);
    return result.replace(from, to);
  }, text);
}

/** Headless Chromium that talks to nobody but the test's own servers. */
export function openBrowser() {
  return chromium.launch({
    executablePath: CHROMIUM,
    timeout: START_MS,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/**
 * Records what goes wrong on every page of a browser context: error messages, exceptions, failed
 * requests, answers of 400 and above. `expected` are patterns for what belongs to the test.
 */
export function watch(context, expected = []) {
  const problems = [];
  const note = (text) => expected.some((pattern) => pattern.test(text)) || problems.push(text);
  context.on("console", (message) => {
    // The browser's own word on a failed request; the request itself is recorded below.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) {
      note(`console: ${message.text()}`);
    }
  });
  context.on("weberror", (error) => note(`exception: ${error.error()}`));
  context.on("requestfailed", (request) => note(`failed: ${line(request)}: ${request.failure()?.errorText}`));
  context.on("response", (response) => {
    if (response.status() >= 400) note(`${response.status()}: ${line(response.request())}`);
  });
  return {
    expect: (pattern) => expected.push(pattern),
    list: () => [...problems],
    assertNone: () => assert.deepEqual(problems, []),
  };
}

function line(request) {
  return `${request.method()} ${new URL(request.url()).pathname}`;
}

/** Keeps a picture of the page under target/screenshots. */
export async function screenshot(page, name) {
  await mkdir(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`) });
}

/** The lines a terminal (xterm.js) shows, waited for until `wanted` accepts them. */
export async function terminalShows(terminal, wanted) {
  const deadline = Date.now() + PAGE_MS;
  for (;;) {
    const rows = await terminal.locator(".xterm-rows > div").allTextContents();
    const lines = rows.map((row) => row.replaceAll("\u00a0", " ").trimEnd());
    if (lines.some((text) => wanted.test(text))) return lines;
    assert.ok(Date.now() < deadline, `no line matches ${wanted}; the terminal shows:\n${lines.join("\n").trimEnd()}`);
    // Drawn once per frame at most.
    await terminal.page().evaluate(() => new Promise(requestAnimationFrame));
  }
}

/** Registers through the console's own form and waits for the list of workspaces. */
export async function register(page, person) {
  await page.getByTestId("show-register").click();
  const form = page.getByTestId("register-form");
  for (const [name, value] of Object.entries(person)) await form.getByTestId(name).fill(value);
  await form.getByTestId("submit").click();
  await page.getByTestId("no-workspaces").waitFor();
}

/** Creates a workspace through the console's own form; its row in the list. */
export async function createWorkspace(page, name, type) {
  const form = page.getByTestId("create-form");
  await form.getByTestId("name").fill(name);
  await form.getByTestId("type").selectOption(type);
  await form.getByTestId("submit").click();
  const row = page.getByTestId("workspace").filter({ hasText: name });
  await row.waitFor();
  return row;
}

/** `promise`, or a rejection after `ms`. */
export async function within(ms, promise, complaint) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(complaint()), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
