/** What the panel says while no model is chosen. */

import { button, el } from "./dom.js";
import { many, printable } from "./names.js";
import { nameOf } from "./panel.js";
import { placing } from "./weights.js";

const SHOWN = 40;
const KEYS = [
  ["↑ ↓", "previous, next model"],
  ["← →", "close, open; to the parent, to a child"],
  ["Home End", "first, last"],
  ["Enter", "show the evidence"],
  ["C", "compare with the model shown"],
  ["/", "search"],
  ["+ − 0", "zoom in, out, all"],
  ["Esc", "leave the comparison, the search"],
];

export function overview(about, roots, go, place) {
  const trees = [...roots].filter((r) => r.below).sort((a, b) => b.below - a.below);
  const alone = roots.length - trees.length;
  return [
    el("h2", { id: "panel-title", tabindex: "-1" }, "Overview"),
    el("p", {}, "Choose a model to see where it comes from and how sure that is. Choose a second one with Shift to compare."),
    place ? placing(place) : "",
    el(
      "section",
      {},
      el("h3", {}, "Trees"),
      el(
        "ul",
        { class: "trees" },
        trees.slice(0, SHOWN).map((root) =>
          el("li", {}, button(nameOf(root), () => go(root.key), { class: "link" }), el("span", { class: "number" }, many(root.below + (root.hidden ? 0 : 1), "model"))),
        ),
        trees.length > SHOWN ? el("li", {}, `… ${trees.length - SHOWN} more`) : "",
        alone ? el("li", { class: "note" }, `${many(alone, "model")} without a relative`) : "",
        about.trees > roots.length ? el("li", { class: "note" }, `${many(about.trees - roots.length, "root")} more`) : "",
      ),
    ),
    about.refused.length
      ? el(
          "section",
          {},
          el("h3", {}, "Could not be read"),
          el("ul", { class: "refused" }, about.refused.slice(0, 200).map(({ path, fault }) => el("li", {}, el("span", { class: "mono" }, printable(path)), `: ${printable(fault)}`))),
        )
      : "",
    el(
      "section",
      { class: "keys" },
      el("h3", {}, "Keys"),
      el("dl", {}, KEYS.map(([key, does]) => el("div", {}, el("dt", {}, key.split(" ").map((k) => el("kbd", {}, k))), el("dd", {}, does)))),
    ),
    el("p", { class: "note" }, `Recovered from the weights by mother, method ${printable(about.method)}.`),
  ];
}
