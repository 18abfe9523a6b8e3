// What every page of the console is, and what it is given.
import type { ApiClient } from "../api/client";
import type { SignIn } from "../auth/sign-in";

export interface View {
  /** Shown in the browser's title bar, before the product's name. */
  title: string;
  element: HTMLElement;
  /** Called once the element is in the page. */
  shown?(): void;
  /** Ends everything the view has started. */
  dispose?(): void;
}

export interface Context {
  signIn: SignIn;
  api: ApiClient;
  /** Goes to another page of the console. */
  go(path: string): void;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Runs `task` after a delay; the returned function cancels it. */
  after(ms: number, task: () => void): () => void;
}
