// Tells the server how much output has really been drawn, so that it pauses for a slow screen.

/**
 * Acknowledged at once when this much is outstanding. Less than the 5 000 bytes below which a paused
 * server goes on, so that it never waits for the idle acknowledgement.
 */
const BATCH_BYTES = 4 * 1024;
/** Acknowledged after this long otherwise, so that a quiet terminal leaves nothing outstanding. */
const IDLE_MS = 50;

export class Acks {
  readonly #send: (bytes: number) => void;
  readonly #after: (ms: number, task: () => void) => () => void;
  #outstanding = 0;
  #cancel: (() => void) | undefined;

  constructor(send: (bytes: number) => void, after: (ms: number, task: () => void) => () => void) {
    this.#send = send;
    this.#after = after;
  }

  /** `bytes` more of output are on the screen. */
  drawn(bytes: number): void {
    this.#outstanding += bytes;
    if (this.#outstanding >= BATCH_BYTES) this.#flush();
    else if (this.#outstanding > 0) this.#cancel ??= this.#after(IDLE_MS, () => this.#flush());
  }

  /** Forgets what is outstanding: the socket it came from is gone. */
  reset(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#outstanding = 0;
  }

  #flush(): void {
    const bytes = this.#outstanding;
    this.reset();
    if (bytes > 0) this.#send(bytes);
  }
}
