// Theia's page as the test uses it: its shell, and the text of its terminal.
import assert from "node:assert/strict";
import { PAGE_MS } from "../browser/support.mjs";

/**
 * What decides which shell Theia starts and what that prints. Taken from nobody's environment: a CI runner
 * may well set no SHELL, or another one.
 */
export const SHELL_ENVIRONMENT = { SHELL: "/bin/sh", PS1: "theia> ", LANG: "C.UTF-8" };
const PROMPT = /^theia> *$/m;

/** Waits until Theia's shell can be used. */
export async function ready(page) {
  await page.locator(".theia-ApplicationShell").waitFor();
  await page.locator(".theia-preload").waitFor({ state: "detached" });
}

/** Unfolds the bottom panel, where Theia's first page has a terminal ready. */
export async function showPanel(page) {
  await page.getByRole("button", { name: "Toggle Bottom Panel" }).click();
  await bottomPanel(page).waitFor();
}

/** Brings the terminal of the bottom panel to the front, and waits for its shell's prompt. */
export async function showTerminal(page) {
  // By its id: its title is the shell's, or what the shell makes of it.
  await bottomPanel(page).locator('.lm-TabBar-tab[id^="shell-tab-terminal-"]').click();
  // What is typed into a terminal that is not yet connected to its shell is lost.
  await terminalShows(page, PROMPT);
}

/** Types a command into the terminal in front, once, and waits until a line of its output matches. */
export async function terminalPrints(page, command, wanted) {
  await terminal(page).click();
  await page.locator(".xterm-helper-textarea:focus").waitFor({ state: "attached" });
  await page.keyboard.type(`${command}\n`);
  await terminalShows(page, wanted);
}

/** Waits until a line of the terminal in front matches. */
async function terminalShows(page, wanted) {
  const deadline = Date.now() + PAGE_MS;
  for (;;) {
    const text = await terminalText(page);
    if (wanted.test(text)) return;
    assert.ok(Date.now() < deadline, `no line matches ${wanted}; the terminal shows:\n${text.trimEnd()}`);
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
}

/** The page in words, for the report of a failure: what has the focus, the panel's tabs, the terminal's text. */
export async function described(page) {
  const { focus, shown } = await page.evaluate(() => ({
    focus: document.activeElement?.cloneNode(false).outerHTML,
    shown: document.body.innerText,
  }));
  const tabs = await bottomPanel(page).locator(".lm-TabBar-tab").allTextContents();
  const screen = (await terminal(page).count()) > 0 ? await terminalText(page) : "(no terminal is in front)";
  return `focus: ${focus}\nbottom panel: ${tabs.join(", ")}\ntext: ${shown}\nterminal:\n${screen}`;
}

function bottomPanel(page) {
  return page.locator("#theia-bottom-content-panel");
}

function terminal(page) {
  return page.locator(".xterm-screen:visible");
}

/** The terminal's text. It is drawn by WebGL, so it is selected and copied, as a person would. */
async function terminalText(page) {
  const box = await terminal(page).boundingBox();
  await page.mouse.move(box.x + 1, box.y + 1);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width - 1, box.y + box.height - 1, { steps: 4 });
  await page.mouse.up();
  return terminal(page).evaluate((screen) => {
    const clipboardData = new DataTransfer();
    screen.dispatchEvent(new ClipboardEvent("copy", { clipboardData, bubbles: true, cancelable: true }));
    return clipboardData.getData("text/plain");
  });
}
