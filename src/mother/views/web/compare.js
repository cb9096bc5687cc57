/** Two models side by side: how they are related, and in what they differ. */

import { button, el } from "./dom.js";
import { heat, largest } from "./heat.js";
import { bytes, count, figure, moved, percent, printable } from "./names.js";
import { likened, nameOf, stepTo } from "./panel.js";
import { ADVERBS, equal, worse } from "./verdict.js";
import { weighing } from "./weights.js";

const ROWS = [
  ["Size", (d) => d.node && `${count(d.node.parameters)} weights`],
  ["Files", (d) => d.node?.files?.length && bytes(d.node.files.reduce((sum, f) => sum + f.bytes, 0))],
  ["Number type", (d) => d.node?.dtype],
  ["Format", (d) => d.node?.format],
  ["Architecture", (d, called) => likened(d.node?.architecture, called)],
  ["Stands below", (d) => d.path.at(-2) && nameOf(d.path.at(-2))],
  ["How sure", (d) => d.told[0]],
  ["Relation to it", (d) => d.edge?.relation],
  ["Stage", (d) => d.edge?.stage],
  ["Changed", (d) => d.edge && moved(d.edge.distance)],
  ["Direction", (d) => d.edge && (equal(d.edge) ? "not told" : d.edge.undirected ? "open" : percent(d.edge.direction_probability))],
  ["Support", (d) => d.edge && percent(d.edge.support)],
  ["Polarity", (d) => d.edge && figure(d.edge.polarity)],
];

export function comparison(a, b, { go, close, weigh, called }) {
  const link = (details) => button(nameOf(details.entry), () => go(details.entry.key), { class: "link" });
  const rows = ROWS.map(([term, of]) => [term, printable(of(a, called) || "–"), printable(of(b, called) || "–")]);
  const top = Math.max(...[a, b].map((d) => (d.changes ? largest(d.changes.values) : 0)));
  return [
    el(
      "header",
      { class: "head" },
      el("h2", { id: "panel-title", tabindex: "-1" }, "Two models"),
      button("×", close, { class: "close", "aria-label": "Close" }),
    ),
    el("section", {}, el("h3", {}, "How they are related"), ...related(a, b, go)),
    weigh && a.node && b.node ? weighing(a.entry.name, b.entry.name, weigh) : null,
    el(
      "section",
      {},
      el("h3", {}, "Side by side"),
      el(
        "table",
        { class: "pair" },
        el("thead", {}, el("tr", {}, el("td", {}), el("th", { scope: "col" }, link(a)), el("th", { scope: "col" }, link(b)))),
        el(
          "tbody",
          {},
          rows
            .filter(([, x, y]) => x !== "–" || y !== "–")
            .map(([term, x, y]) =>
              el("tr", { class: x === y ? "" : "differs" }, el("th", { scope: "row" }, term), el("td", {}, x), el("td", {}, y)),
            ),
        ),
      ),
    ),
    ...[a, b].map((d) =>
      d.changes && d.changes.values.length === d.changes.grid.cells.length
        ? el("section", {}, el("h3", {}, `${nameOf(d.entry)}: change from its parent`), heat(d.changes, top))
        : null,
    ),
  ];
}

/** Who descends from whom, no surer than the least sure step; of equal weights nobody does. */
function claim([first, second, shared], up, down) {
  const [to, from] = [up, down].map((way) => way.filter(({ edge }) => !edge || !equal(edge)));
  const copies = to.length + from.length < up.length + down.length;
  if (!to.length && !from.length) return copies ? "The same weights; which of the two came first is not told." : "The same model.";
  const sure = ADVERBS[worse(...[...to, ...from].map(({ edge, values }) => (edge ? values.grade : "likely")))];
  const steps = (way) => (way.length === 1 ? "one step" : `${way.length} steps`);
  const said = !to.length
    ? `${second} ${sure}descends from ${first}, in ${steps(from)}.`
    : !from.length
      ? `${first} ${sure}descends from ${second}, in ${steps(to)}.`
      : `Both ${sure}descend from ${shared}.`;
  return copies ? `${said} Models of the same weights count as one.` : said;
}

/** The way from one to the other, over the last ancestor that both have. */
function related(a, b, go) {
  const keys = new Set(a.path.map((entry) => entry.key));
  const shared = b.path.filter((entry) => keys.has(entry.key)).at(-1);
  if (!shared) return [el("p", {}, "They stand in different trees: no relation was found.")];
  const up = a.path.slice(a.path.findIndex((e) => e.key === shared.key) + 1).reverse();
  const down = b.path.slice(b.path.findIndex((e) => e.key === shared.key) + 1);
  const said = claim([a.entry, b.entry, shared].map(nameOf), up, down);
  const step = (entry, arrow) =>
    el("li", {}, el("span", { class: "step" }, `${arrow} ${stepTo(entry)}${typeof entry.edge?.distance === "number" ? `, ${moved(entry.edge.distance)} changed` : ""}`));
  const stop = (entry) => el("li", {}, button(nameOf(entry), () => go(entry.key), { class: "link" }));
  const way = [
    ...up.flatMap((entry) => [stop(entry), step(entry, "↑")]),
    stop(shared),
    ...down.flatMap((entry) => [step(entry, "↓"), stop(entry)]),
  ];
  return [el("p", { class: "claim" }, said), el("ol", { class: "way" }, way)];
}
