// How long to wait before each attempt to come back, and when to stop trying.

const FIRST_MS = 250;
const LIMIT_MS = 10_000;
const ATTEMPTS = 30;

export class Backoff {
  readonly #random: () => number;
  #attempt = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** Milliseconds to the next attempt, doubled each time with jitter; `undefined` when it is enough. */
  next(): number | undefined {
    if (this.#attempt >= ATTEMPTS) return undefined;
    const full = Math.min(LIMIT_MS, FIRST_MS * 2 ** this.#attempt);
    this.#attempt += 1;
    return full * (0.5 + this.#random() / 2);
  }

  reset(): void {
    this.#attempt = 0;
  }
}
