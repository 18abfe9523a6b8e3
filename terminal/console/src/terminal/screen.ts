// The terminal on the page: xterm.js, filling its element.
import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { followScheme } from "./theme";

const SCROLLBACK_LINES = 5_000;
/** Of text to its ground, whatever colours a program picks (WCAG 2.2, 1.4.3). */
const MINIMUM_CONTRAST = 4.5;
/** Full reset (RIS), in the stream so that it takes effect after what is still being drawn. */
const RESET = "\u001bc";
/** The size where the page has no layout yet. */
const FALLBACK_SIZE = { cols: 80, rows: 24 };

export interface ScreenEvents {
  text(text: string): void;
  binary(text: string): void;
  resized(cols: number, rows: number): void;
  /** The person asked to leave the terminal by keyboard (Ctrl+Shift+Up). */
  leave(): void;
}

export class Screen {
  readonly #terminal: Terminal;
  readonly #fit = new FitAddon();
  readonly #observer: ResizeObserver;
  readonly #stopTheme: () => void;
  readonly #onFocus = () => this.#refit();
  #frame = 0;
  /** The size is being set to what another viewer asked for. */
  #adopting = false;
  /** Nobody is there to read what the terminal would send. */
  #muted = false;

  constructor(host: HTMLElement, events: ScreenEvents) {
    this.#terminal = new Terminal({
      fontFamily: getComputedStyle(host).fontFamily,
      fontSize: 14,
      lineHeight: 1.15,
      minimumContrastRatio: MINIMUM_CONTRAST,
      scrollback: SCROLLBACK_LINES,
      macOptionIsMeta: true,
      cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
    });
    this.#terminal.loadAddon(this.#fit);
    this.#terminal.attachCustomKeyEventHandler((event) => this.#key(event, events));
    this.#terminal.onData((text) => this.#muted || events.text(text));
    this.#terminal.onBinary((text) => events.binary(text));
    this.#terminal.onResize(({ cols, rows }) => this.#adopting || events.resized(cols, rows));
    this.#stopTheme = followScheme((theme) => (this.#terminal.options.theme = theme));
    this.#terminal.open(host);
    this.#fit.fit();
    this.#observer = new ResizeObserver(() => this.#refit());
    this.#observer.observe(host);
    window.addEventListener("focus", this.#onFocus);
  }

  get size(): { cols: number; rows: number } {
    return this.#fit.proposeDimensions() ? { cols: this.#terminal.cols, rows: this.#terminal.rows } : FALLBACK_SIZE;
  }

  focus(): void {
    this.#terminal.focus();
  }

  write(bytes: Uint8Array, drawn: () => void): void {
    this.#terminal.write(bytes, drawn);
  }

  /** Takes the size another viewer has given the terminal, until this window changes its own or gets the focus. */
  adopt(cols: number, rows: number): void {
    this.#adopting = true;
    this.#terminal.resize(cols, rows);
    this.#adopting = false;
  }

  /** Empties the screen for an attachment that sends it anew. */
  reset(): void {
    this.#terminal.write(RESET);
  }

  /** Whether typing goes anywhere. */
  setInput(enabled: boolean): void {
    this.#muted = !enabled;
    this.#terminal.options.disableStdin = !enabled;
  }

  dispose(): void {
    cancelAnimationFrame(this.#frame);
    this.#observer.disconnect();
    window.removeEventListener("focus", this.#onFocus);
    this.#stopTheme();
    this.#terminal.dispose();
  }

  #refit(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#fit.fit());
  }

  #key(event: KeyboardEvent, events: ScreenEvents): boolean {
    if (!event.ctrlKey || !event.shiftKey || event.altKey || event.metaKey) return true;
    if (event.key === "ArrowUp") {
      event.preventDefault();
      if (event.type === "keydown") events.leave();
      return false;
    }
    if (event.code === "KeyC" && this.#terminal.hasSelection()) {
      event.preventDefault();
      // Refused without a permission or a secure context; the browser's own menu still copies.
      if (event.type === "keydown") navigator.clipboard?.writeText(this.#terminal.getSelection()).catch(() => undefined);
      return false;
    }
    return true;
  }
}
