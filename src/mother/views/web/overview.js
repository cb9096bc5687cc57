/** What the panel says while no model is chosen: first what somebody has to look at. */

import { button, el } from "./dom.js";
import { bytes, many, part, printable } from "./names.js";
import { nameOf } from "./panel.js";
import { GRADES, NEEDS } from "./verdict.js";
import { placing } from "./weights.js";

const SHOWN = 40;
const LOOKED = 5; // models named of each kind

export function overview(about, roots, rows, { go, only, source }) {
  const trees = [...roots].filter((r) => r.below).sort((a, b) => b.below - a.below);
  const sizes = rows && sized(rows);
  const alone = roots.length - trees.length;
  return [
    el("h2", { id: "panel-title", tabindex: "-1" }, "Overview"),
    el("p", {}, "Choose a model to see where it comes from and how sure that is. Choose a second one with Shift to compare."),
    rows ? looks(rows, about, go, only) : noted(about.looks, go),
    ...files(rows ?? [], go),
    source.place ? placing(source, { go, allowed: about.weights }) : "",
    el(
      "section",
      {},
      el("h3", {}, "Trees"),
      el(
        "ul",
        { class: "trees" },
        trees.slice(0, SHOWN).map((root) =>
          el("li", {}, button(nameOf(root), () => go(root.key), { class: "link" }), el("span", { class: "number" }, many(sizes?.get(root.key) ?? root.below + (root.hidden ? 0 : 1), "model"))),
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
    el("p", { class: "note" }, `Recovered from the weights by mother${about.tool ? ` ${printable(about.tool)}` : ""}, method ${printable(about.method)}. Press ? for the keys.`),
  ];
}

/** Which models are there twice, and of which not all was read. */
function files(rows, go) {
  const twice = rows.filter(({ values }) => values.identical_to);
  const read = rows.filter(({ values }) => values.read < 1);
  const freed = twice.reduce((sum, { values }) => sum + (values.freed ?? 0), 0);
  const least = read.reduce((low, { values }) => Math.min(low, values.read), 1);
  const told = [
    [twice, `${many(twice.length, "model is", "models are")} there twice, byte for byte: ${bytes(freed)} can be freed, safe to delete`],
    [read, `${many(read.length, "model")} read in part, windows first (--exact reads all): of one no more than ${part(least)} of its bytes`],
  ].filter(([entries]) => entries.length);
  return told.length ? [el("section", { class: "copies" }, el("h3", {}, "Files"), told.map(([entries, words]) => [el("p", {}, words), named(entries, go)]).flat())] : [];
}

function named(entries, go) {
  const links = entries.slice(0, LOOKED).map((entry) => el("li", {}, button(nameOf(entry), () => go(entry.key), { class: "link" })));
  return el("ul", { class: "trees" }, links, entries.length > LOOKED ? el("li", {}, `… ${entries.length - LOOKED} more`) : "");
}

/** How many models are strong, likely and open (the terminal's summary counts edges, of which a merge
 * has several); hidden ancestors are not counted, nor what hangs from them. */
function sure(rows, only) {
  const of = GRADES.map((grade) => [grade, rows.filter(({ edge, values }) => edge && values.grade === grade).length]).filter(([, count]) => count);
  if (!of.length) return "";
  const many_ = of.map(([grade, count], k) => [k ? ", " : "", button(`${count.toLocaleString("en")} ${grade}`, () => only(`grade:${grade}`), { class: "link" })]);
  return el("p", { class: "sure" }, "Models with a parent: ", ...many_.flat(), ".");
}

/** The same of an index, of which the server has counted. */
function noted(known, go) {
  if (!known) return el("section", {}, el("h3", {}, "Needs a look"), el("p", { class: "note" }, "Of so many models it is not counted."));
  const graded = GRADES.filter((grade) => known.grades[grade]).map((grade) => `${known.grades[grade].toLocaleString("en")} ${grade}`);
  return el(
    "section",
    { class: "looks" },
    el("h3", {}, "Needs a look"),
    graded.length ? el("p", { class: "sure" }, `Found: ${graded.join(", ")}.`) : "",
    known.all ? "" : el("p", { class: "note" }, `Of ${many(known.models, "model")} that were looked at; there are more.`),
    known.needs.length ? "" : el("p", {}, "Nothing else: no direction is open, no support low. Claims are not read for an index."),
    known.needs.map(({ why, total, models }) =>
      el(
        "div",
        {},
        el("p", {}, `${many(total, "model")}: ${NEEDS[why]}`),
        el("ul", { class: "trees" }, models.map(({ key, id }) => el("li", {}, button(printable(id), () => go(key), { class: "link" }))), total > models.length ? el("li", {}, `… ${total - models.length} more`) : ""),
      ),
    ),
  );
}

/** How many models each root's tree holds; rows stand below their parents. */
function sized(rows) {
  const root = new Map();
  const sizes = new Map();
  for (const { key, parent, hidden } of rows) {
    root.set(key, root.get(parent) ?? key);
    sizes.set(root.get(key), (sizes.get(root.get(key)) ?? 0) + (hidden ? 0 : 1));
  }
  return sizes;
}

/** That nobody has to look at anything, and what was not measured. */
function calm(rows, about) {
  const edges = rows.filter(({ edge }) => edge);
  if (!edges.length) return "Nothing: no model here has a parent that is known.";
  const supported = edges.some(({ edge }) => typeof edge.support === "number");
  const none = ["no direction is open", supported && "no support is low", about.claims && "no claim is contradicted"];
  return `Nothing else: ${none.filter(Boolean).join(", ")}.`;
}

function looks(rows, about, go, only) {
  const of = new Map(Object.keys(NEEDS).map((why) => [why, []]));
  for (const entry of rows) for (const why of entry.needs) of.get(why)?.push(entry);
  const found = [...of].filter(([, entries]) => entries.length);
  return el(
    "section",
    { class: "looks" },
    el("h3", {}, "Needs a look"),
    sure(rows, only),
    found.length ? "" : el("p", {}, calm(rows, about)),
    found.map(([why, entries]) =>
      el(
        "div",
        {},
        el("p", {}, button(`${many(entries.length, "model")}: ${NEEDS[why]}`, () => only(`needs:${why}`), { class: "link" })),
        named(entries, go),
      ),
    ),
    about.claims || !rows.length ? "" : el("p", { class: "note" }, "What files claim was not asked: mother recover --hints does."),
  );
}
