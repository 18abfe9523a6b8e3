// Which page is shown: by who is signed in, then by the address.
import { h } from "../ui/dom";
import { messageOf } from "../ui/form";
import { brand, PRODUCT } from "./brand";
import { header } from "./header";
import { parseRoute } from "./routes";
import { signInView } from "./sign-in";
import type { Context, View } from "./view";
import { workspacesView } from "./workspaces";

export class App {
  readonly #root: HTMLElement;
  readonly #context: Context;
  #view: View | undefined;
  /** Counts page changes, so that a page loaded too late is not shown over a newer one. */
  #turn = 0;

  constructor(root: HTMLElement, context: Omit<Context, "go">) {
    this.#root = root;
    this.#context = { ...context, go: (path) => this.#go(path) };
    context.signIn.subscribe(() => this.#render());
    window.addEventListener("popstate", () => this.#render());
  }

  /** Shows the first page as soon as it is known who is signed in. */
  async start(): Promise<void> {
    try {
      await this.#context.signIn.restore();
    } catch (failure) {
      this.#show(unreachableView(messageOf(failure), () => void this.start()));
    }
  }

  #go(path: string): void {
    if (path !== location.pathname) history.pushState(null, "", path);
    this.#render();
  }

  #render(): void {
    const { state } = this.#context.signIn;
    if (state.kind === "out") return this.#show(signInView(this.#context, state.reason));
    if (state.kind === "unknown") return;
    const route = parseRoute(location.pathname);
    switch (route.page) {
      case "workspaces":
        return this.#show(workspacesView(this.#context));
      case "terminal":
        return void this.#showTerminal(route.workspace);
      case "unknown":
        return this.#show(unknownView(this.#context));
    }
  }

  /** The terminal's code is large, and loaded only when one is opened. */
  async #showTerminal(workspace: string): Promise<void> {
    const turn = ++this.#turn;
    try {
      const { terminalView } = await import("./terminal");
      if (turn === this.#turn) this.#show(terminalView(this.#context, workspace));
    } catch {
      if (turn !== this.#turn) return;
      const text = "The terminal's code could not be loaded. The console may have been updated.";
      this.#show(unreachableView(text, () => location.reload()));
    }
  }

  #show(view: View): void {
    this.#turn += 1;
    this.#view?.dispose?.();
    this.#view = view;
    document.title = `${view.title} · ${PRODUCT}`;
    this.#root.replaceChildren(view.element);
    this.#root.querySelector("h1")?.focus();
    view.shown?.();
  }
}

function unreachableView(text: string, retry: () => void): View {
  const element = h(
    "main",
    { class: "sign-in" },
    brand(),
    h(
      "section",
      { class: "card" },
      h("p", { testId: "unreachable", attrs: { role: "alert" } }, text),
      h("div", { class: "actions" }, h("button", { class: "primary", attrs: { type: "button" }, on: { click: retry } }, "Try again")),
    ),
  );
  return { title: "Not connected", element };
}

function unknownView(context: Context): View {
  const back = () => context.go("/");
  const element = h(
    "div",
    { class: "page" },
    header(context),
    h(
      "main",
      { class: "content" },
      h("h1", { attrs: { tabindex: "-1" } }, "There is no such page"),
      h("div", { class: "actions" }, h("button", { class: "primary", attrs: { type: "button" }, on: { click: back } }, "All workspaces")),
    ),
  );
  return { title: "Not found", element };
}
