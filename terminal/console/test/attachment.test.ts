import { expect, test } from "vitest";
import { Attachment, type Standing } from "../src/terminal/attachment";
import { Backoff } from "../src/terminal/backoff";
import { ManualTimers, settle } from "./clock";

class FakeSocket {
  binaryType = "blob";
  onmessage: ((event: { data: string | ArrayBuffer }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  readonly sent: (string | Uint8Array)[] = [];
  closed = false;
  readyState = 1;

  send(data: string | Uint8Array): void {
    this.sent.push(data);
  }

  close(): void {
    this.closed = true;
  }

  text(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  output(length: number): void {
    this.onmessage?.({ data: new ArrayBuffer(length) });
  }

  drop(code: number): void {
    this.onclose?.({ code });
  }
}

function setUp(standing: () => Standing = () => "there") {
  const timers = new ManualTimers();
  const sockets: FakeSocket[] = [];
  const events: string[] = [];
  const attachment = new Attachment(
    {
      url: async () => "ws://edge/attach",
      standing: async () => standing(),
      createSocket: () => {
        const socket = new FakeSocket();
        sockets.push(socket);
        return socket as unknown as WebSocket;
      },
      after: timers.after,
      backoff: new Backoff(() => 1),
    },
    {
      state: (state) => events.push(state),
      hello: () => events.push("hello"),
      resized: (cols, rows) => events.push(`resized ${cols} ${rows}`),
      output: (bytes, drawn) => {
        events.push(`output ${bytes.length}`);
        drawn();
      },
      exit: (code) => events.push(`exit ${code}`),
      gone: () => events.push("gone"),
      signedOut: () => events.push("signed out"),
      notice: (text) => events.push(text),
    },
  );
  const socket = () => sockets.at(-1) ?? new FakeSocket();
  return { timers, sockets, socket, events, attachment };
}

async function connected(standing?: () => Standing) {
  const fixture = setUp(standing);
  fixture.attachment.resize(100, 30);
  fixture.attachment.open();
  await settle();
  fixture.socket().text({ type: "hello" });
  return fixture;
}

test("the size follows hello, input goes as bytes, output is acknowledged", async () => {
  const { attachment, socket, timers } = await connected();
  expect(socket().sent).toEqual(['{"type":"resize","cols":100,"rows":30}']);
  attachment.type("é");
  expect(socket().sent[1]).toEqual(new Uint8Array([0xc3, 0xa9]));
  socket().output(9);
  await timers.advance(50);
  expect(socket().sent[2]).toBe('{"type":"ack","bytes":9}');
});

test("a size another viewer chose is passed on and not sent back", async () => {
  const { socket, events } = await connected();
  socket().text({ type: "resized", cols: 90, rows: 20 });
  expect(events.at(-1)).toBe("resized 90 20");
  expect(socket().sent).toHaveLength(1);
});

test("nothing is sent on a socket whose close is under way", async () => {
  const { attachment, socket } = await connected();
  const before = socket().sent.length;
  socket().readyState = 2;
  attachment.type("x");
  expect(socket().sent).toHaveLength(before);
});

test("a long paste is cut into messages the server accepts", async () => {
  const { attachment, socket } = await connected();
  attachment.type("x".repeat(40_000));
  expect(socket().sent.slice(1).map((data) => data.length)).toEqual([16_384, 16_384, 7_232]);
});

test.each([1006, 1012])("after close code %i the same terminal is attached to again", async (code) => {
  const { sockets, socket, events, timers } = await connected();
  socket().drop(code);
  expect(events.at(-1)).toBe("waiting");
  await timers.advance(250);
  expect(sockets).toHaveLength(2);
  socket().text({ type: "hello" });
  expect(events.slice(-2)).toEqual(["hello", "connected"]);
});

test("close code 4001 is a sign-out and is not tried again", async () => {
  const { sockets, socket, events, timers } = await connected();
  socket().drop(4001);
  await timers.advance(60_000);
  expect(events.at(-1)).toBe("signed out");
  expect(sockets).toHaveLength(1);
});

test("a terminal that is gone, or a sign-in that is over, ends the attempts", async () => {
  for (const [standing, event] of [["gone", "gone"], ["signed-out", "signed out"]] as const) {
    const { sockets, socket, events, timers } = await connected(() => standing);
    socket().drop(1006);
    await timers.advance(60_000);
    expect(events.at(-1)).toBe(event);
    expect(sockets).toHaveLength(1);
  }
});

test("attempts slow down, stop, and start again when asked", async () => {
  const { socket, sockets, events, timers, attachment } = await connected(() => "unknown");
  socket().drop(1006);
  await timers.advance(250 + 500 + 1_000);
  expect(timers.pending()).toEqual([2_000]);
  await timers.advance(600_000);
  expect(events.at(-1)).toBe("given-up");
  expect(timers.pending()).toEqual([]);
  attachment.open();
  await settle();
  expect(sockets).toHaveLength(2);
});

test("an exit ends the attachment; the close that follows is not a loss", async () => {
  const { sockets, socket, events, timers } = await connected();
  socket().text({ type: "exit", code: 3 });
  socket().drop(1000);
  await timers.advance(60_000);
  expect(events.at(-1)).toBe("exit 3");
  expect(sockets).toHaveLength(1);
});

test("a socket that never says hello is given up and tried again", async () => {
  const { attachment, socket, sockets, timers } = setUp();
  attachment.open();
  await settle();
  const silent = socket();
  await timers.advance(10_000);
  expect(silent.closed).toBe(true);
  silent.drop(1006);
  await timers.advance(250);
  expect(sockets).toHaveLength(2);
});
