// The bar over every page of a person who is signed in.
import { h } from "../ui/dom";
import { messageOf } from "../ui/form";
import { brand } from "./brand";
import type { Context } from "./view";

/** `middle` stands between the product's name and the person's. */
export function header(context: Context, ...middle: HTMLElement[]): HTMLElement {
  const { signIn } = context;
  const who = signIn.state.kind === "in" ? signIn.state.identity.email : "";
  const problem = h("p", { class: "form-error", testId: "header-error", attrs: { role: "alert" } });
  const signOut = h("button", { testId: "sign-out", attrs: { type: "button" } }, "Sign out");
  signOut.addEventListener("click", () => {
    signOut.disabled = true;
    problem.textContent = "";
    signIn
      .logout()
      .catch((failure: unknown) => (problem.textContent = `You are still signed in. ${messageOf(failure)}`))
      .finally(() => (signOut.disabled = false));
  });
  return h(
    "header",
    { class: "bar" },
    homeLink(context),
    h("div", { class: "middle" }, ...middle),
    h("span", { class: "who", testId: "who", attrs: { title: who } }, who),
    signOut,
    problem,
  );
}

function homeLink({ go }: Context): HTMLElement {
  const link = h("a", { class: "home", attrs: { href: "/", "aria-label": "Coditect, all workspaces" } }, brand());
  link.addEventListener("click", (event) => {
    // A click with a modifier means another tab or window.
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go("/");
  });
  return link;
}
