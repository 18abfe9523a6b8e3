import { expect, test } from "vitest";
import { Acks } from "../src/terminal/acks";
import { ManualTimers } from "./clock";

function acks() {
  const timers = new ManualTimers();
  const sent: number[] = [];
  return { timers, sent, acks: new Acks((bytes) => sent.push(bytes), timers.after) };
}

test("a full batch is acknowledged at once, what is left when it goes quiet", async () => {
  const { timers, sent, acks: subject } = acks();
  subject.drawn(2_500);
  expect(sent).toEqual([]);
  subject.drawn(2_500);
  expect(sent).toEqual([5_000]);
  subject.drawn(7);
  await timers.advance(50);
  expect(sent).toEqual([5_000, 7]);
  expect(timers.pending()).toEqual([]);
});

test("what a lost socket had outstanding is not acknowledged to the next one", async () => {
  const { timers, sent, acks: subject } = acks();
  subject.drawn(10);
  subject.reset();
  await timers.advance(1_000);
  expect(sent).toEqual([]);
});
