// Times as people say them.
import { h } from "./dom";

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const ABSOLUTE = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });
/** From here on a date says more than a number of days. */
const DATE_AFTER_SECONDS = 14 * 86_400;

/** How long before `now` the instant `then` was; both in milliseconds since the epoch. */
export function ago(then: number, now: number): string {
  const seconds = Math.max(0, (now - then) / 1000);
  if (seconds > DATE_AFTER_SECONDS) return ABSOLUTE.format(then);
  for (const [unit, length] of STEPS) {
    if (seconds >= length) return RELATIVE.format(-Math.floor(seconds / length), unit);
  }
  return "just now";
}

/** An RFC 3339 instant, relative to now, the exact time in its title. */
export function timeAgo(instant: string, now: number): HTMLElement {
  const then = Date.parse(instant);
  if (Number.isNaN(then)) return h("span", {}, "–");
  return h("time", { attrs: { datetime: instant, title: ABSOLUTE.format(then) } }, ago(then, now));
}
