// One terminal seen through a socket that is opened again whenever it is lost.
import { Acks } from "./acks";
import type { Backoff } from "./backoff";
import {
  CLOSE_NORMAL,
  CLOSE_SIGNED_OUT,
  type ClientMessage,
  inputChunks,
  parseServerMessage,
  SUBPROTOCOL,
} from "./protocol";

export type AttachmentState = "connecting" | "connected" | "waiting" | "given-up" | "ended";

/** Whether the terminal may be attached to. */
export type Standing = "there" | "gone" | "signed-out" | "unknown";

export interface AttachmentDeps {
  /** The socket's address with a current token in it. */
  url(): Promise<string>;
  /** Asked before every attempt after the first: a refused upgrade does not tell a page why. */
  standing(): Promise<Standing>;
  createSocket(url: string, protocol: string): WebSocket;
  after(ms: number, task: () => void): () => void;
  backoff: Backoff;
}

export interface AttachmentEvents {
  state(state: AttachmentState): void;
  /** An attachment begins; the screen so far is about to be sent again. */
  hello(): void;
  /** The size is now this, whoever asked for it. */
  resized(cols: number, rows: number): void;
  /** Output; `drawn` is to be called when it is on the screen. */
  output(bytes: Uint8Array, drawn: () => void): void;
  exit(code: number | undefined, signal: string | undefined): void;
  /** The terminal does not exist any more. */
  gone(): void;
  signedOut(): void;
  notice(text: string): void;
}

/** `WebSocket.OPEN`, which is no global where the tests run. */
const SOCKET_OPEN = 1;
const CONNECT_TIMEOUT_MS = 10_000;

export class Attachment {
  readonly #deps: AttachmentDeps;
  readonly #events: AttachmentEvents;
  readonly #acks: Acks;
  readonly #encoder = new TextEncoder();
  #socket: WebSocket | undefined;
  #cancelTimer: () => void = () => undefined;
  #size: { cols: number; rows: number } | undefined;
  #state: AttachmentState = "connecting";

  constructor(deps: AttachmentDeps, events: AttachmentEvents) {
    this.#deps = deps;
    this.#events = events;
    this.#acks = new Acks((bytes) => this.#sendMessage({ type: "ack", bytes }), deps.after);
  }

  get state(): AttachmentState {
    return this.#state;
  }

  /** Opens the first socket, or a new one after the attachment had given up. */
  open(): void {
    this.#deps.backoff.reset();
    void this.#attempt(false);
  }

  /** Tries now what would have been tried later: the network is back. */
  hurry(): void {
    if (this.#state !== "waiting") return;
    this.#cancelTimer();
    void this.#attempt(true);
  }

  /** Typed text, sent as UTF-8. Dropped while there is no socket: typing into the dark is worse. */
  type(text: string): void {
    this.#sendInput(this.#encoder.encode(text));
  }

  /** Input that is bytes, one per character (old mouse reports). */
  typeBinary(text: string): void {
    this.#sendInput(Uint8Array.from(text, (char) => char.charCodeAt(0)));
  }

  resize(cols: number, rows: number): void {
    this.#size = { cols, rows };
    this.#sendMessage({ type: "resize", cols, rows });
  }

  /** Closes the socket for good; no event follows. */
  dispose(): void {
    this.#state = "ended";
    this.#cancelTimer();
    this.#acks.reset();
    this.#dropSocket();
  }

  async #attempt(checkFirst: boolean): Promise<void> {
    this.#set("connecting");
    const standing = checkFirst ? await this.#deps.standing() : "there";
    if (this.#over()) return;
    if (standing === "gone") return this.#finish(() => this.#events.gone());
    if (standing === "signed-out") return this.#finish(() => this.#events.signedOut());
    if (standing === "unknown") return this.#wait();
    let url: string;
    try {
      url = await this.#deps.url();
    } catch {
      // Asked again, and told apart from a sign-out, by `standing` at the next attempt.
      if (!this.#over()) this.#wait();
      return;
    }
    if (!this.#over()) this.#connect(url);
  }

  #connect(url: string): void {
    const socket = this.#deps.createSocket(url, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#cancelTimer();
    this.#cancelTimer = this.#deps.after(CONNECT_TIMEOUT_MS, () => socket.close());
    socket.onmessage = (event: MessageEvent<ArrayBuffer | string>) => {
      if (socket === this.#socket) this.#receive(socket, event.data);
    };
    socket.onclose = (event) => {
      if (socket === this.#socket) this.#closed(event.code);
    };
  }

  #receive(socket: WebSocket, data: ArrayBuffer | string): void {
    if (typeof data !== "string") {
      const bytes = new Uint8Array(data);
      this.#events.output(bytes, () => {
        if (socket === this.#socket) this.#acks.drawn(bytes.length);
      });
      return;
    }
    const message = parseServerMessage(data);
    switch (message?.type) {
      case "hello":
        this.#cancelTimer();
        this.#deps.backoff.reset();
        this.#events.hello();
        this.#set("connected");
        if (this.#size) this.#sendMessage({ type: "resize", ...this.#size });
        break;
      case "resized":
        this.#events.resized(message.cols, message.rows);
        break;
      case "exit":
        this.#finish(() => this.#events.exit(message.code, message.signal));
        break;
      case "error":
        this.#events.notice(message.message);
        break;
      case "lost":
        this.#events.notice("Some output was left out: it came faster than it could be shown.");
        break;
      case undefined:
        break;
    }
  }

  #closed(code: number): void {
    this.#dropSocket();
    this.#acks.reset();
    if (this.#over()) return;
    if (code === CLOSE_SIGNED_OUT) this.#finish(() => this.#events.signedOut());
    else if (code === CLOSE_NORMAL) this.#finish(() => this.#events.gone());
    else this.#wait();
  }

  #wait(): void {
    const delay = this.#deps.backoff.next();
    if (delay === undefined) return this.#set("given-up");
    this.#set("waiting");
    this.#cancelTimer();
    this.#cancelTimer = this.#deps.after(delay, () => void this.#attempt(true));
  }

  #finish(tell: () => void): void {
    this.#cancelTimer();
    this.#set("ended");
    tell();
  }

  #over(): boolean {
    return this.#state === "ended";
  }

  #dropSocket(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close(CLOSE_NORMAL);
  }

  #sendInput(bytes: Uint8Array<ArrayBuffer>): void {
    for (const chunk of inputChunks(bytes)) this.#send(chunk);
  }

  #sendMessage(message: ClientMessage): void {
    this.#send(JSON.stringify(message));
  }

  #send(data: string | Uint8Array<ArrayBuffer>): void {
    // Between the server's Close and the event that tells of it, a browser complains about every message sent.
    if (this.#state === "connected" && this.#socket?.readyState === SOCKET_OPEN) this.#socket.send(data);
  }

  #set(state: AttachmentState): void {
    if (this.#state === "ended" || this.#state === state) return;
    this.#state = state;
    this.#events.state(state);
  }
}
