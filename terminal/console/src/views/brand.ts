// The product's name and mark.
import mark from "../favicon.svg";
import { h } from "../ui/dom";

export const PRODUCT = "Coditect";

export function brand(): HTMLElement {
  return h(
    "span",
    { class: "brand" },
    h("img", { attrs: { src: mark, alt: "", width: "24", height: "24" } }),
    h("span", {}, PRODUCT),
  );
}
