// What the tabs of one browser agree on: one renewal at a time, and a sign-out for all.

const NAME = "coditect-sign-in";

/** Runs `task` while no other tab runs one; without the Web Locks API (plain http), at once. */
export function exclusively<T>(task: () => Promise<T>): Promise<T> {
  // Absent outside secure contexts, whatever the DOM types say.
  const locks = navigator.locks as LockManager | undefined;
  return locks ? locks.request(NAME, task) : task();
}

/** A channel on which tabs tell each other that the sign-in is over. */
export class SignOutChannel {
  readonly #channel = new BroadcastChannel(NAME);

  announce(): void {
    this.#channel.postMessage("ended");
  }

  listen(heard: () => void): void {
    this.#channel.addEventListener("message", () => heard());
  }
}
