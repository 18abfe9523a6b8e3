// Theia's page as the test uses it: its shell, and the text of its terminal.
import assert from "node:assert/strict";
import { PAGE_MS } from "../browser/support.mjs";

/** Waits until Theia's shell can be used. */
export async function ready(page) {
  await page.locator(".theia-ApplicationShell").waitFor();
  await page.locator(".theia-preload").waitFor({ state: "detached" });
}

/** Shows the bottom panel, where Theia's first page has a terminal ready, through the command palette. */
export async function showPanel(page) {
  await page.keyboard.press("F1");
  const palette = page.locator(".quick-input-widget");
  await palette.locator("input.input").waitFor();
  await page.keyboard.type("Terminal: Toggle Terminal");
  await palette.getByRole("option", { name: "Terminal: Toggle Terminal" }).click();
}

/** Brings the terminal of the bottom panel to the front. */
export async function showTerminal(page) {
  await page.locator("#theia-bottom-content-panel .lm-TabBar-tab", { hasText: "bash" }).click();
  await terminal(page).waitFor();
}

/** Types a command into the terminal in front, until its output matches. */
export async function terminalPrints(page, command, wanted) {
  const screen = terminal(page);
  await screen.click();
  const deadline = Date.now() + PAGE_MS;
  // A new shell that is not reading yet shows what is typed only once it does; nothing is lost.
  await page.keyboard.type(`${command}\n`);
  for (;;) {
    const text = await copied(page);
    if (wanted.test(text)) return;
    assert.ok(Date.now() < deadline, `no line matches ${wanted}; the terminal shows:\n${text}`);
  }
}

function terminal(page) {
  return page.locator(".xterm-screen:visible");
}

/** The terminal's text. It is drawn by WebGL, so it is selected and copied, as a person would. */
async function copied(page) {
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
