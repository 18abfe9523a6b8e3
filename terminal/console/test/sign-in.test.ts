import { expect, test } from "vitest";
import { ApiClient } from "../src/api/client";
import { ApiError, UnreachableError } from "../src/api/envelope";
import type { Exchange, Transport } from "../src/api/transport";
import { SignIn, SignedOutError } from "../src/auth/sign-in";
import { ManualTimers } from "./clock";

type Answer = (exchange: Exchange) => unknown;

/** A sign-in over a server that answers by path; every exchange is recorded. */
function setUp(answers: Record<string, Answer>) {
  const timers = new ManualTimers();
  const calls: Exchange[] = [];
  const transport = (async (exchange: Exchange) => {
    calls.push(exchange);
    await Promise.resolve();
    const answer = answers[exchange.path];
    if (!answer) throw new Error(`no answer for ${exchange.path}`);
    return answer(exchange);
  }) as Transport;
  const announced: string[] = [];
  const signIn = new SignIn({
    transport,
    now: () => timers.now,
    after: timers.after,
    exclusively: (task) => task(),
    announceEnd: () => announced.push("end"),
  });
  const paths = () => calls.map(({ path }) => path);
  return { timers, calls, paths, signIn, announced, api: new ApiClient(transport, signIn) };
}

const user = { id: "u1", email: "ada@example.test" };
const refuse = (code: string): Answer => () => {
  throw new ApiError(401, code, code);
};
const grants = (): Answer => {
  let count = 0;
  return () => ({ token: `token-${++count}`, expires_in: 3600, user });
};

test("the refresh token is asked for as a cookie and never read", async () => {
  const { signIn, calls } = setUp({ "/auth/login": grants() });
  await signIn.login("ada@example.test", "secret");
  expect(calls[0]?.headers).toEqual({ "x-coditect-refresh": "cookie" });
  expect(calls[0]?.body).toEqual({ email: "ada@example.test", password: "secret" });
  expect(signIn.state).toEqual({ kind: "in", identity: { userId: "u1", email: "ada@example.test" } });
});

test("no cookie on page load leads to the login form, one that is over says so", async () => {
  for (const [code, reason] of [["MISSING_AUTH_HEADER", "none"], ["TOKEN_REVOKED", "ended"], ["TOKEN_EXPIRED", "ended"]] as const) {
    const { signIn } = setUp({ "/auth/refresh": refuse(code) });
    await signIn.restore();
    expect(signIn.state).toEqual({ kind: "out", reason });
  }
});

test("a token is renewed shortly before it expires, without a change of state", async () => {
  const { signIn, timers, paths } = setUp({ "/auth/refresh": grants() });
  await signIn.restore();
  const states: string[] = [];
  signIn.subscribe(({ kind }) => states.push(kind));
  await timers.advance(3_539_000);
  expect(await signIn.current()).toBe("token-1");
  await timers.advance(1_000);
  expect(await signIn.current()).toBe("token-2");
  expect(paths()).toEqual(["/auth/refresh", "/auth/refresh"]);
  expect(states).toEqual([]);
});

test("calls that find the token expired renew it once between them, then are sent again", async () => {
  const { api, signIn, paths, calls } = setUp({
    "/auth/refresh": grants(),
    "/sessions?limit=200": ({ headers }) => {
      if (headers?.["authorization"] === "Bearer token-1") throw new ApiError(401, "TOKEN_EXPIRED", "expired");
      return [];
    },
  });
  await signIn.restore();
  await Promise.all([api.workspaces(), api.workspaces(), api.workspaces()]);
  expect(paths().filter((path) => path === "/auth/refresh")).toHaveLength(2);
  expect(calls.filter(({ headers }) => headers?.["authorization"] === "Bearer token-2")).toHaveLength(3);
});

test("a revoked token ends the sign-in and is not tried again", async () => {
  const { api, signIn, paths, timers } = setUp({ "/auth/refresh": grants(), "/sessions?limit=200": refuse("TOKEN_REVOKED") });
  await signIn.restore();
  await expect(api.workspaces()).rejects.toMatchObject({ code: "TOKEN_REVOKED" });
  expect(signIn.state).toEqual({ kind: "out", reason: "ended" });
  expect(paths()).toEqual(["/auth/refresh", "/sessions?limit=200"]);
  expect(timers.pending()).toEqual([]);
  await expect(signIn.current()).rejects.toBeInstanceOf(SignedOutError);
});

test("a server that is away does not end a sign-in", async () => {
  let away = false;
  const grant = grants();
  const { signIn, timers } = setUp({
    "/auth/refresh": (exchange) => {
      if (away) throw new UnreachableError();
      return grant(exchange);
    },
  });
  await signIn.restore();
  away = true;
  await timers.advance(3_540_000 + 20_000);
  expect(signIn.state.kind).toBe("in");
  away = false;
  await timers.advance(5_000);
  expect(await signIn.current()).toBe("token-2");
});

test("a sign-out the server did not hear changes nothing; one it heard ends all tabs", async () => {
  let away = true;
  const { signIn, announced } = setUp({
    "/auth/refresh": grants(),
    "/auth/logout": () => {
      if (away) throw new UnreachableError();
      return {};
    },
  });
  await signIn.restore();
  await expect(signIn.logout()).rejects.toBeInstanceOf(UnreachableError);
  expect(signIn.state.kind).toBe("in");
  away = false;
  const leaving = signIn.logout();
  // The terminal's socket is closed with 4001 before the answer arrives.
  signIn.rejected();
  expect(signIn.state.kind).toBe("in");
  await leaving;
  expect(signIn.state).toEqual({ kind: "out", reason: "left" });
  expect(announced).toEqual(["end"]);
});

test("a sign-out whose answer was lost holds where a socket has heard of it", async () => {
  const { signIn } = setUp({
    "/auth/refresh": grants(),
    "/auth/logout": () => {
      throw new UnreachableError();
    },
  });
  await signIn.restore();
  const leaving = signIn.logout();
  signIn.rejected();
  await leaving;
  expect(signIn.state).toEqual({ kind: "out", reason: "left" });
});
