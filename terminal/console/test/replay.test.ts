import { expect, test } from "vitest";
import { Replay } from "../src/terminal/replay";
import { ManualTimers } from "./clock";

const ANSWERS = ["\u001b[?1;2c", "\u001b[>0;276;0c", "\u001b[12;1R", "\u001b[0n", "\u001b[?2026;2$y", "\u001b]11;rgb:0f/14/19\u0007"];
const TYPED = ["a", "\u001b[A", "\u001b[1;5C", "\u001bOP", "\u001b[200~pasted\u001b[201~", "\u001b"];

test("while earlier output is shown again its questions are not answered, typing passes", async () => {
  const timers = new ManualTimers();
  const replay = new Replay(timers.after);
  expect(ANSWERS.filter((text) => replay.drops(text))).toEqual([]);
  replay.begin();
  expect(ANSWERS.filter((text) => !replay.drops(text))).toEqual([]);
  expect(TYPED.filter((text) => replay.drops(text))).toEqual([]);
  await timers.advance(200);
  replay.output();
  await timers.advance(200);
  expect(replay.drops("\u001b[0n")).toBe(true);
  await timers.advance(50);
  expect(replay.drops("\u001b[0n")).toBe(false);
  expect(timers.pending()).toEqual([]);
});

test("output without a pause delays answers for a limited time only", async () => {
  const timers = new ManualTimers();
  const replay = new Replay(timers.after);
  replay.begin();
  for (let waited = 0; waited < 3_000; waited += 100) {
    expect(replay.drops("\u001b[0n")).toBe(true);
    replay.output();
    await timers.advance(100);
  }
  expect(replay.drops("\u001b[0n")).toBe(false);
});
