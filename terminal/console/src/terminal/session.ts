// A terminal on the page: finds or makes one on the server, joins screen and attachment, and
// tells the page how it goes.
import type { ApiClient } from "../api/client";
import { ApiError } from "../api/envelope";
import { type SignIn, SignedOutError } from "../auth/sign-in";
import { messageOf } from "../ui/form";
import { Attachment, type AttachmentState, type Standing } from "./attachment";
import { Backoff } from "./backoff";
import { attachUrl } from "./protocol";
import { Replay } from "./replay";
import { Screen } from "./screen";

export interface SessionDeps {
  api: ApiClient;
  signIn: SignIn;
  after(ms: number, task: () => void): () => void;
}

export interface SessionEvents {
  /** A word on the connection. */
  status(text: string): void;
  /** A line about the terminal, with what can be done about it; empty text removes it. */
  line(text: string, action?: { label: string; act(): void }): void;
  leave(): void;
  /** To the list of workspaces. */
  home(): void;
}

const STATUS: Record<AttachmentState, string> = {
  connecting: "Connecting…",
  connected: "Connected",
  waiting: "Connection lost, trying again…",
  "given-up": "Not connected",
  ended: "Ended",
};

export class Session {
  readonly #deps: SessionDeps;
  readonly #workspace: string;
  readonly #events: SessionEvents;
  readonly #screen: Screen;
  readonly #replay: Replay;
  readonly #online = () => this.#attachment?.hurry();
  #attachment: Attachment | undefined;
  #disposed = false;

  constructor(deps: SessionDeps, workspace: string, host: HTMLElement, events: SessionEvents) {
    this.#deps = deps;
    this.#workspace = workspace;
    this.#events = events;
    this.#replay = new Replay(deps.after);
    this.#screen = new Screen(host, {
      text: (text) => this.#replay.drops(text) || this.#attachment?.type(text),
      binary: (text) => this.#attachment?.typeBinary(text),
      resized: (cols, rows) => this.#attachment?.resize(cols, rows),
      leave: () => events.leave(),
    });
    window.addEventListener("online", this.#online);
  }

  /** Attaches to the workspace's running terminal, or to a new one where none runs. */
  async start(): Promise<void> {
    this.#events.status(STATUS.connecting);
    this.#events.line("");
    try {
      const { api } = this.#deps;
      const running = (await api.terminals(this.#workspace)).find(({ status }) => status === "running");
      const terminal = running ?? (await api.createTerminal(this.#workspace, this.#screen.size));
      if (!this.#disposed) this.#attach(terminal.id, running !== undefined);
    } catch (failure) {
      if (this.#disposed || failure instanceof SignedOutError) return;
      this.#events.status(STATUS["given-up"]);
      if (failure instanceof ApiError && failure.status === 404) {
        this.#events.line("There is no such workspace.", { label: "All workspaces", act: () => this.#events.home() });
        return;
      }
      this.#events.line(messageOf(failure), { label: "Try again", act: () => void this.start() });
    }
  }

  dispose(): void {
    this.#disposed = true;
    window.removeEventListener("online", this.#online);
    this.#replay.end();
    this.#attachment?.dispose();
    this.#screen.dispose();
  }

  /** `seen`: the terminal has output from before this attachment. */
  #attach(terminal: string, seen: boolean): void {
    const { signIn, after } = this.#deps;
    let replays = seen;
    const anew = { label: "New terminal", act: () => void this.start() };
    this.#attachment?.dispose();
    this.#attachment = new Attachment(
      {
        url: async () => attachUrl(new URL(location.href), this.#workspace, terminal, await signIn.current()),
        standing: () => this.#standing(terminal),
        createSocket: (url, protocol) => new WebSocket(url, protocol),
        after,
        backoff: new Backoff(Math.random),
      },
      {
        state: (state) => this.#show(state),
        hello: () => {
          this.#begin();
          if (replays) this.#replay.begin();
          replays = true;
        },
        resized: (cols, rows) => this.#screen.adopt(cols, rows),
        output: (bytes, drawn) => {
          this.#replay.output();
          this.#screen.write(bytes, drawn);
        },
        exit: (code, signal) => this.#events.line(exitLine(code, signal), anew),
        gone: () => this.#events.line("The terminal is no longer there.", anew),
        signedOut: () => signIn.rejected(),
        notice: (text) => this.#events.line(text),
      },
    );
    this.#attachment.resize(this.#screen.size.cols, this.#screen.size.rows);
    this.#attachment.open();
  }

  #begin(): void {
    this.#screen.reset();
    this.#events.line("");
    this.#screen.focus();
  }

  #show(state: AttachmentState): void {
    this.#events.status(STATUS[state]);
    this.#screen.setInput(state === "connected");
    if (state === "given-up") {
      this.#events.line("The terminal cannot be reached.", {
        label: "Try again",
        act: () => {
          this.#events.line("");
          this.#attachment?.open();
        },
      });
    }
  }

  async #standing(terminal: string): Promise<Standing> {
    try {
      const terminals = await this.#deps.api.terminals(this.#workspace);
      return terminals.some(({ id }) => id === terminal) ? "there" : "gone";
    } catch (failure) {
      if (failure instanceof SignedOutError) return "signed-out";
      if (!(failure instanceof ApiError)) return "unknown";
      if (failure.status === 401) return "signed-out";
      return failure.status === 404 ? "gone" : "unknown";
    }
  }
}

function exitLine(code: number | undefined, signal: string | undefined): string {
  if (signal !== undefined) return `The shell was ended by ${signal}.`;
  return code === undefined ? "The shell has ended." : `The shell has ended with exit code ${code}.`;
}
