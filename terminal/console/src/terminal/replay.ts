// Keeps answers to old questions from the shell. Programs ask a terminal what it is and where its
// cursor stands; when earlier output is shown again, xterm.js answers again, and nobody waits for
// it any more: it would turn up as typed text.

/** An answer to a query: cursor position, device attributes, mode and status reports, colours. */
const ANSWER = /^\u001b(?:\[[?>=]?[\d;]*\$?[cnRy]|[\]P])/;
/** Earlier output comes without a pause; after one this long what follows is new. */
const PAUSE_MS = 250;
/** A program that never pauses is not kept waiting for answers longer than this. */
const LIMIT_MS = 3_000;

export class Replay {
  readonly #after: (ms: number, task: () => void) => () => void;
  #running = false;
  #cancelPause: () => void = () => undefined;
  #cancelLimit: () => void = () => undefined;

  constructor(after: (ms: number, task: () => void) => () => void) {
    this.#after = after;
  }

  /** Earlier output is about to be shown again. */
  begin(): void {
    this.end();
    this.#running = true;
    this.#cancelLimit = this.#after(LIMIT_MS, () => this.end());
    this.output();
  }

  /** Output has come. */
  output(): void {
    if (!this.#running) return;
    this.#cancelPause();
    this.#cancelPause = this.#after(PAUSE_MS, () => this.end());
  }

  /** Whether what xterm.js wants to send is such an answer; typing never is. */
  drops(text: string): boolean {
    return this.#running && ANSWER.test(text);
  }

  end(): void {
    this.#running = false;
    this.#cancelPause();
    this.#cancelLimit();
  }
}
