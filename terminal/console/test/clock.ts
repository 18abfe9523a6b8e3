// Time and timers a test moves by hand.

export class ManualTimers {
  now = 1_000_000;
  readonly #tasks = new Map<number, { at: number; task: () => void }>();
  #next = 0;

  readonly after = (ms: number, task: () => void): (() => void) => {
    const id = this.#next++;
    this.#tasks.set(id, { at: this.now + ms, task });
    return () => this.#tasks.delete(id);
  };

  /** Timers not yet run, as milliseconds from now, soonest first. */
  pending(): number[] {
    return [...this.#tasks.values()].map(({ at }) => at - this.now).sort((a, b) => a - b);
  }

  /** Moves time on, running what falls due in its order, and lets promises settle in between. */
  async advance(ms: number): Promise<void> {
    const end = this.now + ms;
    for (;;) {
      await settle();
      const due = [...this.#tasks].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      this.#tasks.delete(due[0]);
      this.now = due[1].at;
      due[1].task();
    }
    this.now = end;
  }
}

/** Lets every promise that can settle do so. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}
