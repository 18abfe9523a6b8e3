// Opening Theia for a workspace, in a tab of its own.
import { h } from "../ui/dom";
import { messageOf } from "../ui/form";
import type { Context } from "./view";

/**
 * A button that hands the workspace over to `/theia/`. The token is put into an address only
 * at the click; the edge answers it with a cookie and a redirect to an address without it.
 */
export function theiaButton({ signIn }: Context, workspace: string, report: (problem: string) => void): HTMLElement {
  const open = (token: string) => {
    const query = new URLSearchParams({ token, sessionId: workspace });
    window.open(`/theia/?${query.toString()}`, "_blank", "noopener,noreferrer");
  };
  const click = () => {
    report("");
    const token = signIn.peek();
    if (token !== undefined) return open(token);
    signIn.current().then(open, (failure: unknown) => report(messageOf(failure)));
  };
  return h(
    "button",
    { testId: "open-theia", attrs: { type: "button", title: "Opens in a new tab" }, on: { click } },
    "Open Theia",
  );
}
