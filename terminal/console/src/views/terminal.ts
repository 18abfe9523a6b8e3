// One workspace's terminal, filling the page.
import { Session } from "../terminal/session";
import { h } from "../ui/dom";
import { header } from "./header";
import { theiaButton } from "./theia";
import type { Context, View } from "./view";

export function terminalView(context: Context, workspace: string): View {
  const name = h("h1", { class: "crumb", testId: "workspace-name", attrs: { tabindex: "-1" } }, "Workspace");
  const status = h("span", { class: "status", testId: "terminal-status", attrs: { role: "status" } });
  const host = h("div", { class: "screen", testId: "terminal", attrs: { role: "region", "aria-label": "Terminal" } });
  const line = h("div", { class: "line", testId: "terminal-line", attrs: { role: "status", hidden: true } });
  const showLine = (text: string, action?: { label: string; act(): void }) => {
    line.replaceChildren(h("span", {}, text));
    line.hidden = text === "";
    if (!action) return;
    const button = h("button", { testId: "line-action", attrs: { type: "button" }, on: { click: action.act } }, action.label);
    line.append(button);
    button.focus();
  };
  const element = h(
    "div",
    { class: "page terminal-page" },
    header(context, name, status, theiaButton(context, workspace, (problem) => showLine(problem))),
    h("main", { class: "terminal-main" }, line, host),
    h("p", { class: "keys" }, h("kbd", {}, "Ctrl"), "+", h("kbd", {}, "Shift"), "+", h("kbd", {}, "↑"), " leaves the terminal for the page"),
  );
  let session: Session | undefined;
  return {
    title: "Terminal",
    element,
    shown() {
      session = new Session(context, workspace, host, {
        status: (text) => (status.textContent = text),
        line: showLine,
        leave: () => name.focus(),
        home: () => context.go("/"),
      });
      void session.start();
      // Where this fails the terminal fails too, and says why.
      context.api.workspace(workspace).then(
        (found) => (name.textContent = found.name),
        () => undefined,
      );
    },
    dispose() {
      session?.dispose();
    },
  };
}
