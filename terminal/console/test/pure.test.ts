import { expect, test } from "vitest";
import { ApiError, readEnvelope } from "../src/api/envelope";
import { identityOf } from "../src/auth/identity";
import { attachUrl, parseServerMessage } from "../src/terminal/protocol";
import { ago } from "../src/ui/time";
import { parseRoute, terminalPath } from "../src/views/routes";

test("an answer is its data, or an error with the server's own words", async () => {
  await expect(readEnvelope(Response.json({ success: true, data: [1] }))).resolves.toEqual([1]);
  const refusal = { success: false, data: null, error: { code: "EMAIL_TAKEN", message: "Taken." } };
  await expect(readEnvelope(Response.json(refusal, { status: 409 }))).rejects.toEqual(
    new ApiError(409, "EMAIL_TAKEN", "Taken."),
  );
});

test.each(["<html>", "[]", "null", '{"success":false}'])("an answer that is no envelope is an error: %s", async (body) => {
  await expect(readEnvelope(new Response(body, { status: 502 }))).rejects.toMatchObject({ code: "UNREADABLE_ANSWER", status: 502 });
});

test("the token goes to the attach address, over the page's own security", () => {
  const url = attachUrl(new URL("https://edge.test/workspaces/w"), "a/b", "t", "x.y&z");
  expect(url).toBe("wss://edge.test/api/v5/sessions/a%2Fb/terminals/t/attach?token=x.y%26z");
});

test.each(["", "[]", "nonsense", '{"type":"other"}'])("a message outside the protocol is ignored: %s", (text) => {
  expect(parseServerMessage(text)).toBeUndefined();
});

test("who a token is for can be read from it where the answer does not say", () => {
  const claims = Buffer.from(JSON.stringify({ sub: "u1", email: "å@example.test" })).toString("base64url");
  expect(identityOf({ token: `h.${claims}.s`, expires_in: 1 })).toEqual({ userId: "u1", email: "å@example.test" });
  expect(identityOf({ token: "opaque", expires_in: 1 })).toEqual({ userId: "", email: "" });
});

test("addresses lead to pages and back", () => {
  expect(parseRoute("/")).toEqual({ page: "workspaces" });
  expect(parseRoute(terminalPath("a b/c"))).toEqual({ page: "terminal", workspace: "a b/c" });
  expect(parseRoute("/workspaces/%ff")).toEqual({ page: "unknown" });
  expect(parseRoute("/elsewhere")).toEqual({ page: "unknown" });
});

test("times are told from the largest unit that fits", () => {
  const now = Date.UTC(2026, 0, 20);
  expect(ago(now - 30_000, now)).toBe("just now");
  expect(ago(now - 90_000, now)).toBe("1 minute ago");
  expect(ago(now - 26 * 3_600_000, now)).toBe("yesterday");
  expect(ago(now - 40 * 86_400_000, now)).toContain("2025");
});
