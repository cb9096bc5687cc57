/** How much each layer changed, block by block. */

import { el } from "./dom.js";
import { figure, printable, shortened } from "./names.js";

/** A table of the changes of one edge. top: the change drawn darkest, the largest if not given. */
export function heat({ grid, values }, top = largest(values)) {
  const { kinds, blocks, cells } = grid;
  const at = new Map();
  cells.forEach(([row, column], k) => at.set(row * blocks.length + column, values[k]));
  const readout = el("p", { class: "readout" }, `largest ${figure(largest(values))}`);
  const cell = (kind, row, block, column) => {
    const change = at.get(row * blocks.length + column);
    if (change === undefined) return el("td", { class: "none" });
    // a root, so that one layer trained anew leaves the others apart
    const share = change === null ? 0 : Math.sqrt(Math.min(1, change / (top || 1)));
    const words = change === null ? "unknown" : change === 0 ? "unchanged" : figure(change);
    const where = block === "" ? kind : `block ${block}, ${kind}`;
    return el(
      "td",
      {
        class: change === 0 ? "same" : change === null ? "none" : "cell",
        "--share": `${Math.round(100 * share)}%`,
        "data-words": `${printable(where)}: ${words}`,
      },
      el("span", { class: "unseen" }, words),
    );
  };
  const table = el(
    "table",
    { class: "heat", "--cell": blocks.length <= 6 ? "30px" : blocks.length <= 14 ? "20px" : "15px" },
    el("caption", { class: "unseen" }, "Change of each layer, as a share of its norm in the parent"),
    el("thead", {}, el("tr", {}, el("td", {}), blocks.map((b, k) => heading(b, k, blocks.length)))),
    el(
      "tbody",
      {},
      kinds.map((kind, row) =>
        el(
          "tr",
          {},
          el("th", { scope: "row", title: printable(kind) }, el("span", { class: "brief" }, shortened(printable(kind), 30)), el("span", { class: "whole" }, printable(kind))),
          blocks.map((block, column) => cell(kind, row, block, column)),
        ),
      ),
    ),
  );
  table.addEventListener("pointerover", (event) => {
    const words = event.target.closest("td[data-words]")?.dataset.words;
    readout.textContent = words ?? `largest ${figure(largest(values))}`;
  });
  const ramp = el("p", { class: "ramp", "aria-hidden": "true" }, "0", el("span", { class: "bar" }), `${figure(top)}, by square roots`);
  return el(
    "div",
    {},
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Heat map of change by layer and block" }, table),
    el("div", { class: "under" }, readout, ramp),
  );
}

export function largest(values) {
  return values.reduce((most, x) => Math.max(most, x ?? 0), 0);
}

function heading(block, k, many) {
  const every = many > 16 ? 4 : 1;
  const said = block === "" ? "outside blocks" : `block ${block}`;
  const drawn = block !== "" && Number(block) % every === 0 ? printable(block) : "";
  return el(
    "th",
    { scope: "col" },
    el("span", { class: "unseen" }, printable(said)),
    el("span", { "aria-hidden": "true" }, drawn),
  );
}
