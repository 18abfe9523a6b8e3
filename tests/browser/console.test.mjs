// The console in a real browser, over the real edge: from registration to a typed command.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  createWorkspace,
  openBrowser,
  PAGE_MS,
  register,
  scratch,
  screenshot,
  startEdge,
  terminalShows,
  watch,
} from "./support.mjs";
import { explained } from "./explained.mjs";

const PERSON = {
  firstName: "Ada",
  lastName: "Lovelace",
  email: "ada@example.test",
  password: "an analytical engine",
};

let place;
let edge;
let browser;

before(async () => {
  place = await scratch();
  edge = await startEdge(place.directory);
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await edge?.stop();
  await place?.remove();
});

/**
 * A test with a person's browser at the console's first page, which is watched for anything unexpected.
 * `run` takes its page and `step`, which runs one step of several.
 */
function visit(name, run) {
  test(name, async (t) => {
    const context = await browser.newContext({ viewport: { width: 1200, height: 760 } });
    context.setDefaultTimeout(PAGE_MS);
    // Nobody has signed in on this browser yet.
    const problems = watch(context, [/^401: POST \/api\/v5\/auth\/refresh$/]);
    const seen = { context, problems, outputs: () => ({ edge: edge.log() }) };
    const step = (part, work) => t.test(part, () => explained(part, seen, work));
    await explained(name, seen, async () => {
      const page = await context.newPage();
      await page.goto(edge.url);
      await page.getByTestId("login-form").waitFor();
      await run({ context, page, problems, step });
      problems.assertNone();
    });
    await context.close();
  });
}

visit("from registration to a typed command, and out again", async ({ context, page, step }) => {
  const terminal = page.getByTestId("terminal");
  const status = page.getByTestId("terminal-status");
  await screenshot(page, "console-1-sign-in");

  await step("a person registers", async () => {
    await register(page, PERSON);
    assert.equal(await page.getByTestId("who").textContent(), PERSON.email);
  });

  await step("no script can read the refresh token", async () => {
    const readable = await page.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length]);
    assert.deepEqual(readable, ["", 0, 0]);
    const cookies = await context.cookies(`${edge.url}/api/v5/auth/refresh`);
    assert.deepEqual(cookies.map(({ httpOnly, sameSite }) => ({ httpOnly, sameSite })), [{ httpOnly: true, sameSite: "Strict" }]);
  });

  await step("creates a workspace and opens a terminal in it", async () => {
    const row = await createWorkspace(page, "Analytical engine", "workspace");
    await screenshot(page, "console-2-workspaces");
    await row.getByTestId("open-terminal").click();
    await status.filter({ hasText: /^Connected$/ }).waitFor();
    assert.equal(await page.getByTestId("workspace-name").textContent(), "Analytical engine");
  });

  await step("types a command and sees its output", async () => {
    await page.keyboard.type("echo $((6*7))\n");
    await terminalShows(terminal, /^42$/);
    await screenshot(page, "console-3-terminal");
  });

  await step("the shell learns of the window's size", async () => {
    await page.keyboard.type("stty size\n");
    const wide = columns(await terminalShows(terminal, /^\d+ \d+$/));
    await page.setViewportSize({ width: 900, height: 760 });
    await terminal.locator(".xterm-screen").evaluate(narrowed);
    await page.keyboard.type("clear; stty size\n");
    const narrow = await settled(async () => columns(await terminalShows(terminal, /^\d+ \d+$/)), (now) => now < wide);
    assert.ok(narrow < wide, `${narrow} columns after ${wide}`);
    await page.setViewportSize({ width: 1200, height: 760 });
  });

  await step("a reload leads back to the same terminal", async () => {
    await page.keyboard.type("marker=kept; echo set-$marker\n");
    await terminalShows(terminal, /^set-kept$/);
    await page.reload();
    await status.filter({ hasText: /^Connected$/ }).waitFor();
    await page.keyboard.type("echo still-$marker\n");
    await terminalShows(terminal, /^still-kept$/);
  });

  await step("an exit shows its code and offers a new terminal", async () => {
    await page.keyboard.type("exit 3\n");
    await page.getByTestId("terminal-line").getByText("exit code 3").waitFor();
    await page.getByTestId("line-action").click();
    await status.filter({ hasText: /^Connected$/ }).waitFor();
    await page.keyboard.type("echo new-$((40+2))-$marker.\n");
    await terminalShows(terminal, /^new-42-\.$/);
  });

  await step("signs out: the terminal is gone, the login form is back", async () => {
    await page.getByTestId("sign-out").click();
    await page.getByTestId("login-form").waitFor();
    assert.equal(await page.getByTestId("notice").textContent(), "You are signed out.");
    assert.equal(await terminal.count(), 0);
    await page.reload();
    await page.getByTestId("login-form").waitFor();
    await screenshot(page, "console-4-signed-out");
  });
});

visit("a wrong password is refused in the form; the right one leads to the workspaces", async ({ page, problems }) => {
  problems.expect(/^401: POST \/api\/v5\/auth\/login$/);
  await page.emulateMedia({ colorScheme: "dark" });
  await page.getByTestId("email").fill(PERSON.email);
  await page.getByTestId("password").fill("a difference engine");
  await page.getByTestId("submit").click();
  await page.getByTestId("form-error").filter({ hasText: /\w/ }).waitFor();
  await screenshot(page, "console-5-refused");
  await page.getByTestId("password").fill(PERSON.password);
  await page.getByTestId("submit").click();
  await page.getByTestId("workspace").filter({ hasText: "Analytical engine" }).waitFor();
});

visit("addresses that lead nowhere say so", async ({ page, problems }) => {
  problems.expect(/^404: GET \/api\/v5\/sessions\//);
  await page.getByTestId("email").fill(PERSON.email);
  await page.getByTestId("password").fill(PERSON.password);
  await page.getByTestId("submit").click();
  await page.getByTestId("workspace").first().waitFor();
  await page.goto(`${edge.url}/workspaces/6f1f6a2e-6a3e-4c9b-9d50-0d7a36f6a0c1`);
  await page.getByTestId("terminal-line").getByText("There is no such workspace.").waitFor();
  await page.getByTestId("line-action").click();
  await page.getByTestId("workspace").first().waitFor();
  await page.goto(`${edge.url}/elsewhere`);
  await page.getByRole("heading", { name: "There is no such page" }).waitFor();
});

visit("a sign-out in one tab ends the terminal in another, which says so", async ({ context, page }) => {
  await page.getByTestId("email").fill(PERSON.email);
  await page.getByTestId("password").fill(PERSON.password);
  await page.getByTestId("submit").click();
  await page.getByTestId("open-terminal").first().click();
  await page.getByTestId("terminal-status").filter({ hasText: /^Connected$/ }).waitFor();
  const other = await context.newPage();
  await other.goto(edge.url);
  await other.getByTestId("sign-out").click();
  await other.getByTestId("login-form").waitFor();
  await page.getByTestId("login-form").waitFor();
  await page.getByTestId("notice").filter({ hasText: /\w/ }).waitFor();
});

visit("after a restart of the server the console is back, signed in, and offers a new terminal", async ({ page, problems }) => {
  problems.expect(/^failed: GET \/api\/v5\/sessions\/[-0-9a-f]{36}\/terminals: net::ERR_CONNECTION_REFUSED$/);
  problems.expect(/^console: WebSocket connection to .* failed: Error in connection establishment: net::ERR_CONNECTION_REFUSED$/);
  await page.getByTestId("email").fill(PERSON.email);
  await page.getByTestId("password").fill(PERSON.password);
  await page.getByTestId("submit").click();
  await page.getByTestId("open-terminal").first().click();
  const status = page.getByTestId("terminal-status");
  await status.filter({ hasText: /^Connected$/ }).waitFor();
  await edge.stop();
  await status.filter({ hasText: /^Connection lost/ }).waitFor();
  edge = await startEdge(place.directory, { http: new URL(edge.url).host });
  await page.getByTestId("terminal-line").getByText("The terminal is no longer there.").waitFor();
  await page.getByTestId("line-action").click();
  await status.filter({ hasText: /^Connected$/ }).waitFor();
  await page.keyboard.type("echo back-$((6*7))\n");
  await terminalShows(page.getByTestId("terminal"), /^back-42$/);
});

/** The columns in the newest answer of `stty size`. */
function columns(lines) {
  const sizes = lines.filter((text) => /^\d+ \d+$/.test(text));
  return Number(sizes.at(-1).split(" ")[1]);
}

/** Resolves when the terminal has been drawn at the window's new width. */
function narrowed(screen) {
  return new Promise((resolve) => {
    const look = () => (screen.clientWidth <= window.innerWidth ? resolve() : requestAnimationFrame(look));
    look();
  });
}

/** Reads until `good` accepts what was read, or the time is up; the last thing read. */
async function settled(read, good) {
  const deadline = Date.now() + PAGE_MS;
  let value = await read();
  while (!good(value) && Date.now() < deadline) value = await read();
  return value;
}
