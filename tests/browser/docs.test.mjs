// The API's page in a real browser: whole under its own policy, and fit to be read.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, PAGE_MS, scratch, screenshot, startEdge, watch } from "./support.mjs";

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

test("the page shows every operation, loads nothing else and breaks no rule of its policy", async () => {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 } });
  context.setDefaultTimeout(PAGE_MS);
  const problems = watch(context);
  const requests = [];
  context.on("request", (request) => requests.push(new URL(request.url()).pathname));
  const page = await context.newPage();
  await page.goto(`${edge.url}/api/v5/docs`);
  const document = await (await fetch(`${edge.url}/api/v5/openapi.json`)).json();
  const ids = Object.values(document.paths).flatMap((item) => Object.values(item).map((operation) => operation.operationId));
  assert.equal(await page.locator("main article:not([id^=schema-])").count(), ids.length);

  // The policy let the style in, by its hash.
  const columns = await page.locator(".page").evaluate((element) => getComputedStyle(element).display);
  assert.equal(columns, "grid");
  await screenshot(page, "docs-1-contents");

  await page.getByRole("navigation").getByRole("link", { name: "createSession" }).click();
  const operation = page.locator("#createSession");
  await operation.locator("summary").click();
  await operation.getByText("application/json").first().waitFor();
  await screenshot(page, "docs-2-operation");
  await operation.getByRole("link", { name: "SessionAnswer" }).click();
  await page.locator("#schema-SessionAnswer summary").click();
  await page.locator("#schema-SessionAnswer").getByRole("link", { name: "SessionResponse" }).waitFor();

  await page.emulateMedia({ colorScheme: "dark" });
  await page.setViewportSize({ width: 420, height: 800 });
  const wide = await page.evaluate(() => window.document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wide <= 0, `the page is ${wide} pixels wider than a small window`);
  await screenshot(page, "docs-3-small-and-dark");

  problems.assertNone();
  assert.deepEqual([...new Set(requests)].filter((path) => path !== "/favicon.ico"), ["/api/v5/docs"]);
  await context.close();
});
