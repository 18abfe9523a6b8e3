// Holds the committed dist/ to its source: builds again elsewhere and compares byte for byte.
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { build } from "vite";

const root = path.resolve(import.meta.dirname, "..");
const committed = path.join(root, "dist");
const fresh = await mkdtemp(path.join(tmpdir(), "coditect-console-"));

/** Every file below a directory: its path there, and its bytes. */
async function contents(directory) {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch((error) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
  return new Map(await Promise.all(files.map(async (file) => [path.relative(directory, file), await readFile(file)])));
}

try {
  await build({ root, logLevel: "warn", build: { outDir: fresh, emptyOutDir: true } });
  const [wanted, found] = await Promise.all([contents(fresh), contents(committed)]);
  const names = new Set([...wanted.keys(), ...found.keys()]);
  const stale = [...names].filter((name) => !wanted.get(name)?.equals(found.get(name) ?? Buffer.alloc(0)));
  if (stale.length > 0) {
    console.error(`terminal/console/dist is not what its source builds to: ${stale.sort().join(", ")}`);
    console.error("Run `npm run build` in terminal/console and commit the result.");
    process.exitCode = 1;
  }
} finally {
  await rm(fresh, { recursive: true, force: true });
}
