// A person's workspaces: the list, and a form for a new one.
import { WORKSPACE_TYPES, type Workspace, type WorkspaceType } from "../api/types";
import { h } from "../ui/dom";
import { field, form, messageOf, select } from "../ui/form";
import { timeAgo } from "../ui/time";
import { header } from "./header";
import { terminalPath } from "./routes";
import { theiaButton } from "./theia";
import type { Context, View } from "./view";

const TYPE_NAMES: Record<WorkspaceType, string> = {
  workspace: "Workspace",
  "ai-studio": "AI studio",
  theia: "Theia",
};

export function workspacesView(context: Context): View {
  const list = h("div", { testId: "workspaces", attrs: { "aria-live": "polite" } });
  const problem = h("p", { class: "form-error", testId: "list-error", attrs: { role: "alert" } });
  const report = (text: string) => (problem.textContent = text);
  let workspaces: Workspace[] = [];
  const draw = () => list.replaceChildren(listing(context, workspaces, report));
  const load = async () => {
    report("");
    list.replaceChildren(h("p", { class: "quiet" }, "Loading…"));
    try {
      workspaces = (await context.api.workspaces()).sort(byLastOpened);
      draw();
    } catch (failure) {
      const again = h("button", { attrs: { type: "button" }, on: { click: () => void load() } }, "Try again");
      list.replaceChildren(again);
      report(messageOf(failure));
    }
  };
  const add = (created: Workspace) => {
    workspaces = [created, ...workspaces.filter(({ id }) => id !== created.id)];
    draw();
    list.querySelector("button")?.focus();
  };
  const element = h(
    "div",
    { class: "page" },
    header(context),
    h(
      "main",
      { class: "content" },
      h("h1", { attrs: { tabindex: "-1" } }, "Workspaces"),
      h("div", { class: "split" }, h("section", { class: "listing" }, problem, list), creation(context, add)),
    ),
  );
  return { title: "Workspaces", element, shown: () => void load() };
}

/** The one used last comes first. */
function byLastOpened(a: Workspace, b: Workspace): number {
  return Date.parse(b.last_accessed_at) - Date.parse(a.last_accessed_at);
}

function creation({ api }: Context, add: (created: Workspace) => void): HTMLElement {
  const options = WORKSPACE_TYPES.map((value) => ({ value, text: TYPE_NAMES[value] }));
  const element: HTMLFormElement = form(
    {
      testId: "create-form",
      submit: "Create",
      busy: "Creating…",
      send: async (value) => {
        const type = WORKSPACE_TYPES.find((known) => known === value("type")) ?? "workspace";
        const created = await api.createWorkspace(value("name"), type);
        element.reset();
        add(created);
      },
    },
    field({ name: "name", label: "Name", maxLength: 200 }),
    select("type", "Type", options),
  );
  return h("section", { class: "card" }, h("h2", {}, "New workspace"), element);
}

function listing(context: Context, workspaces: Workspace[], report: (problem: string) => void): HTMLElement {
  if (workspaces.length === 0) {
    return h("p", { class: "quiet empty", testId: "no-workspaces" }, "There are none yet. Create one to open a terminal in it.");
  }
  return h("ul", { class: "workspaces" }, ...workspaces.map((workspace) => row(context, workspace, report)));
}

function row(context: Context, workspace: Workspace, report: (problem: string) => void): HTMLElement {
  const open = () => context.go(terminalPath(workspace.id));
  return h(
    "li",
    { testId: "workspace", attrs: { "data-id": workspace.id } },
    h(
      "div",
      { class: "about" },
      h("strong", {}, workspace.name),
      h(
        "p",
        { class: "quiet" },
        `${TYPE_NAMES[workspace.type] ?? workspace.type} · opened `,
        timeAgo(workspace.last_accessed_at, context.now()),
      ),
    ),
    h(
      "div",
      { class: "actions" },
      h(
        "button",
        { class: "primary", testId: "open-terminal", attrs: { type: "button" }, on: { click: open } },
        "Open terminal",
      ),
      theiaButton(context, workspace.id, report),
    ),
  );
}
