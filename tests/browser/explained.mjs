// What a failed step of a browser test leaves behind: pictures of its pages, and in its error what the
// pages and the processes behind them had to say. A failure elsewhere has to explain itself.
import { screenshot, within } from "./support.mjs";

/** How long a test or a step of it may take, whatever it waits for: a page that hangs answers nothing. */
const STEP_MS = 600_000;
/** How long looking at a page may take that has just failed. */
const LOOK_MS = 15_000;
/** How much of a page's text and of a process's output is shown: the end of it, without empty lines. */
const SHOWN_LINES = 30;

/**
 * Runs a step. If it fails, its error holds what was to be seen of the whole browser `context`.
 *
 * `problems` is what `watch` has recorded, `outputs` the processes' output by name, and `describe` turns a
 * page into text where what it shows is more than its text.
 */
export async function explained(name, { context, problems, outputs, describe = text }, run) {
  try {
    return await within(STEP_MS, run(), () => new Error(`did not end within ${STEP_MS / 1000} s`));
  } catch (error) {
    const pages = context.pages().map((page, index) => seen(page, `failed-${fileName(name)}-${index + 1}`, describe));
    const report = [
      ...(await Promise.all(pages)),
      section("what went wrong on its pages", problems.list().join("\n") || "nothing"),
      ...Object.entries(outputs()).map(([process, output]) => section(`${process} printed`, last(output))),
    ];
    throw new Error(`${error.message}\n\n${report.join("\n")}`, { cause: error });
  }
}

/** A page in words; its picture is kept under target/screenshots. */
async function seen(page, picture, describe) {
  const looked = [
    attempt(() => screenshot(page, picture), () => `pictured in target/screenshots/${picture}.png`),
    attempt(() => describe(page), last),
  ];
  return section(`page ${withoutSecrets(page.url())}`, (await Promise.all(looked)).join("\n"));
}

/** What was found, in words; a page that cannot be looked at is no reason to lose the rest. */
async function attempt(look, words) {
  try {
    return words(await within(LOOK_MS, look(), () => new Error("no answer")));
  } catch (error) {
    return `could not be looked at: ${error.message}`;
  }
}

function text(page) {
  return page.evaluate(() => document.body.innerText);
}

function section(title, body) {
  return `--- ${title}\n${body}\n`;
}

function last(output) {
  return output.split("\n").filter((line) => line.trim() !== "").slice(-SHOWN_LINES).join("\n");
}

function fileName(name) {
  return name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").slice(0, 60);
}

/** An address as far as it may be written down: tokens travel in queries. */
function withoutSecrets(address) {
  return address.replace(/\?.*$/, "?…");
}
