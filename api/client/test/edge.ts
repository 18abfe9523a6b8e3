// The real edge in a directory of its own, with a signing secret the tests know.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

const ROOT = path.resolve(import.meta.dirname, "../../../..");
const EDGE = path.resolve(ROOT, process.env["CODITECT_EDGE_BIN"] ?? "target/debug/coditect-edge");
/** How long the edge may take to start and to stop, in milliseconds. */
const LIMIT_MS = 60_000;
const SECRET = "a secret that only these tests know, of enough bytes";
/** What is other than in config/edge.toml. */
const CHANGES: readonly (readonly [string, string])[] = [
  ['http = "127.0.0.1:8080"', 'http = "127.0.0.1:0"'],
  ['admin = "127.0.0.1:9090"', 'admin = "127.0.0.1:0"'],
];

export class Edge {
  /** Its origin. */
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #directory: string;

  private constructor(url: string, child: ChildProcess, directory: string) {
    this.url = url;
    this.#child = child;
    this.#directory = directory;
  }

  static async start(): Promise<Edge> {
    const directory = await mkdtemp(path.join(tmpdir(), "coditect-client-"));
    let config = await readFile(path.join(ROOT, "config/edge.toml"), "utf8");
    for (const [shipped, wanted] of CHANGES) {
      assert.equal(config.split(shipped).length, 2, `config/edge.toml no longer holds ${shipped} once`);
      config = config.replace(shipped, wanted);
    }
    const file = path.join(directory, "edge.toml");
    await writeFile(file, config);
    const { HOST, PORT, ...env } = process.env;
    const child = spawn(EDGE, ["--config", file], {
      cwd: directory,
      env: { ...env, JWT_SECRET: SECRET },
      stdio: ["ignore", "pipe", "pipe"],
    });
    return new Edge(await address(child), child, directory);
  }

  async stop(): Promise<void> {
    const code = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGTERM");
    const late = setTimeout(() => this.#child.kill("SIGKILL"), LIMIT_MS);
    assert.equal(await code, 0, "the edge's exit code");
    clearTimeout(late);
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** Where it says that it serves. */
function address(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = "";
    const failed = (why: string) => {
      child.kill("SIGKILL");
      reject(new Error(`the edge ${why}:\n${output}`));
    };
    const late = setTimeout(() => failed("did not start in time"), LIMIT_MS);
    child.once("error", (error) => failed(error.message));
    const early = (code: number | null) => failed(`ended at its start (${code})`);
    child.once("exit", early);
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        const found = /^\s*http\s+(http:\/\/\S+)/m.exec(output)?.[1];
        if (found !== undefined) {
          clearTimeout(late);
          child.off("exit", early);
          resolve(found);
        }
      });
    }
  });
}

/** The same token, but that it ended a minute ago. */
export function expired(token: string): string {
  const [head, payload] = token.split(".");
  assert.ok(head !== undefined && payload !== undefined);
  const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as Record<string, unknown>;
  const now = Math.floor(Date.now() / 1000);
  const past = Buffer.from(JSON.stringify({ ...claims, iat: now - 120, exp: now - 60 })).toString("base64url");
  const signature = createHmac("sha256", SECRET).update(`${head}.${past}`).digest("base64url");
  return `${head}.${past}.${signature}`;
}
