// Signing in, and creating an account.
import { h } from "../ui/dom";
import { field, form } from "../ui/form";
import { brand } from "./brand";
import type { Context, View } from "./view";

const REASONS = {
  none: undefined,
  ended: "Your sign-in has ended. Sign in again to go on where you were.",
  left: "You are signed out.",
} as const;

export function signInView(context: Context, reason: keyof typeof REASONS): View {
  const card = h("section", { class: "card" });
  const text = REASONS[reason];
  const notice = text === undefined ? undefined : h("p", { class: "notice", testId: "notice", attrs: { role: "status" } }, text);
  const show = (mode: "login" | "register") => {
    card.replaceChildren(...(mode === "login" ? login(context, () => show("register")) : register(context, () => show("login"))));
    card.querySelector("input")?.focus();
  };
  const element = h("main", { class: "sign-in", testId: "sign-in" }, brand(), ...(notice ? [notice] : []), card);
  return { title: "Sign in", element, shown: () => show("login") };
}

function login({ signIn }: Context, other: () => void): HTMLElement[] {
  return [
    h("h1", {}, "Sign in"),
    form(
      {
        testId: "login-form",
        submit: "Sign in",
        busy: "Signing in…",
        send: (value) => signIn.login(value("email"), value("password")),
      },
      email(),
      field({ name: "password", label: "Password", type: "password", autocomplete: "current-password" }),
    ),
    switchLine("No account yet?", "Create one", "show-register", other),
  ];
}

function register({ signIn }: Context, other: () => void): HTMLElement[] {
  return [
    h("h1", {}, "Create an account"),
    form(
      {
        testId: "register-form",
        submit: "Create account",
        busy: "Creating account…",
        send: (value) =>
          signIn.register({
            email: value("email"),
            password: value("password"),
            firstName: value("firstName"),
            lastName: value("lastName"),
          }),
      },
      h(
        "div",
        { class: "columns" },
        field({ name: "firstName", label: "First name", autocomplete: "given-name", maxLength: 100 }),
        field({ name: "lastName", label: "Last name", autocomplete: "family-name", maxLength: 100 }),
      ),
      email(),
      field({
        name: "password",
        label: "Password",
        type: "password",
        autocomplete: "new-password",
        hint: "8 to 128 characters; several words are good.",
        minLength: 8,
        maxLength: 128,
      }),
    ),
    switchLine("Already have an account?", "Sign in", "show-login", other),
  ];
}

function email(): HTMLElement {
  return field({ name: "email", label: "E-mail", type: "email", autocomplete: "username", maxLength: 254 });
}

function switchLine(question: string, action: string, testId: string, act: () => void): HTMLElement {
  return h(
    "p",
    { class: "switch" },
    `${question} `,
    h("button", { class: "link", testId, attrs: { type: "button" }, on: { click: act } }, action),
  );
}
