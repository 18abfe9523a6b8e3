// Labelled fields, and forms that show what the server said next to what was sent.
import { h, type Props } from "./dom";

export interface FieldOptions {
  name: string;
  label: string;
  type?: "text" | "email" | "password";
  autocomplete?: string;
  hint?: string;
  required?: boolean;
  minLength?: number;
  maxLength?: number;
}

export function field(options: FieldOptions): HTMLElement {
  const id = `field-${options.name}`;
  const attrs: Record<string, string | boolean> = {
    name: options.name,
    type: options.type ?? "text",
    autocomplete: options.autocomplete ?? "off",
    required: options.required ?? true,
    spellcheck: "false",
  };
  if (options.minLength !== undefined) attrs["minlength"] = String(options.minLength);
  if (options.maxLength !== undefined) attrs["maxlength"] = String(options.maxLength);
  if (options.hint !== undefined) attrs["aria-describedby"] = `${id}-hint`;
  return h(
    "div",
    { class: "field" },
    h("label", { attrs: { for: id } }, options.label),
    h("input", { id, testId: options.name, attrs }),
    options.hint === undefined ? undefined : h("p", { class: "hint", id: `${id}-hint` }, options.hint),
  );
}

export function select(name: string, label: string, options: { value: string; text: string }[]): HTMLElement {
  const id = `field-${name}`;
  return h(
    "div",
    { class: "field" },
    h("label", { attrs: { for: id } }, label),
    h(
      "select",
      { id, testId: name, attrs: { name } },
      ...options.map(({ value, text }) => h("option", { attrs: { value } }, text)),
    ),
  );
}

export interface FormOptions extends Props {
  submit: string;
  /** What the button says while the request is under way. */
  busy: string;
  /** Resolves when done; a rejection is shown in the form. */
  send(values: (name: string) => string): Promise<void>;
}

export function form(options: FormOptions, ...fields: HTMLElement[]): HTMLFormElement {
  const error = h("p", { class: "form-error", testId: "form-error", attrs: { role: "alert" } });
  const button = h("button", { class: "primary", testId: "submit", attrs: { type: "submit" } }, options.submit);
  const element = h("form", options, ...fields, error, h("div", { class: "actions" }, button));
  const setBusy = (busy: boolean) => {
    button.disabled = busy;
    button.textContent = busy ? options.busy : options.submit;
    element.ariaBusy = String(busy);
  };
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    if (button.disabled) return;
    const data = new FormData(element);
    error.textContent = "";
    setBusy(true);
    options
      .send((name) => String(data.get(name) ?? ""))
      .catch((failure: unknown) => (error.textContent = messageOf(failure)))
      .finally(() => setBusy(false));
  });
  return element;
}

/** What to tell a person about a failure; the API's messages begin in lower case. */
export function messageOf(failure: unknown): string {
  const text = failure instanceof Error ? failure.message : String(failure);
  return text.charAt(0).toUpperCase() + text.slice(1);
}
