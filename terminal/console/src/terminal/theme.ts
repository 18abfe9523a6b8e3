// The terminal's colours, in step with the page's light or dark scheme.
import type { ITheme } from "@xterm/xterm";

const DARK: ITheme = {
  background: "#0f1419",
  foreground: "#d7dde4",
  cursor: "#d7dde4",
  cursorAccent: "#0f1419",
  selectionBackground: "#31445a",
  black: "#1b222a",
  red: "#f07178",
  green: "#9ccc65",
  yellow: "#e6b450",
  blue: "#6cb2eb",
  magenta: "#c792ea",
  cyan: "#5ccfc4",
  white: "#c5ccd4",
  brightBlack: "#6b7785",
  brightRed: "#ff9199",
  brightGreen: "#b8e27f",
  brightYellow: "#ffcf73",
  brightBlue: "#8fc7f7",
  brightMagenta: "#dcb0f7",
  brightCyan: "#83e4da",
  brightWhite: "#f2f5f8",
};

const LIGHT: ITheme = {
  background: "#ffffff",
  foreground: "#1d252e",
  cursor: "#1d252e",
  cursorAccent: "#ffffff",
  selectionBackground: "#c9dcf0",
  black: "#1d252e",
  red: "#b3261e",
  green: "#2e6b1f",
  yellow: "#7d5a00",
  blue: "#1f5fa8",
  magenta: "#7b3aa5",
  cyan: "#0b6b66",
  white: "#5d6875",
  brightBlack: "#6b7785",
  brightRed: "#c8382f",
  brightGreen: "#397f28",
  brightYellow: "#946b00",
  brightBlue: "#2c72c4",
  brightMagenta: "#9049bf",
  brightCyan: "#0f7d77",
  brightWhite: "#3c4652",
};

/** Calls `apply` now and whenever the scheme changes; the returned function stops that. */
export function followScheme(apply: (theme: ITheme) => void): () => void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const update = () => apply(dark.matches ? DARK : LIGHT);
  dark.addEventListener("change", update);
  update();
  return () => dark.removeEventListener("change", update);
}
