/** What only a server can do: read weights again, for two models or for a new one. */

import { announce, button, el } from "./dom.js";
import { figure, many, percent, printable } from "./names.js";

const SHOWN = 10;
const SAYS = {
  unknown: "Unknown: of different architectures, so their weights can't be compared.",
  strangers: "Strangers: not trained from each other, nor from a common ancestor.",
  duplicate: "The same weights.",
  converted: "The same weights in another form.",
  siblings: "Siblings: both come from an ancestor that is neither of them.",
  relatives: "Relatives: what they have in common did not change, so who was first is unknown.",
};

/** A button that compares two models by their weights, and the place for what comes of it. */
export function weighing(a, b, weigh) {
  const said = el("div", { "aria-live": "polite" });
  const run = button("Compare the weights", () => work(run, said, () => weigh(a, b), measured), { id: "weigh" });
  return el("section", {}, el("h3", {}, "By their weights"), said, el("p", { class: "actions" }, run));
}

/** A field for a path on the server's disk. */
export function placing(place) {
  const said = el("div", { "aria-live": "polite" });
  const path = el("input", { id: "place-path", type: "text", spellcheck: "false", autocomplete: "off", maxlength: "4096" });
  const start = () => path.value.trim() && work(run, said, () => place(path.value.trim()), placed);
  const run = button("Place", start, { id: "place" });
  path.addEventListener("keydown", (event) => event.key === "Enter" && start());
  return el(
    "section",
    { class: "placing" },
    el("h3", {}, "Where would a checkpoint hang?"),
    el("label", { for: "place-path" }, "Its path on the server"),
    el("p", { class: "actions" }, path, run),
    said,
  );
}

async function work(run, said, ask, show) {
  run.disabled = true;
  said.replaceChildren(el("p", { class: "note" }, "Reading weights…"));
  try {
    said.replaceChildren(...show(await ask()));
  } catch (fault) {
    said.replaceChildren(el("p", { class: "warning" }, printable(fault.message)));
  }
  run.disabled = false;
  announce("Done");
}

function measured(c) {
  const [parent, child] = (c.parent === "b" ? [c.b, c.a] : [c.a, c.b]).map(printable);
  const rank = typeof c.rank === "number" ? ` (rank ${c.rank})` : "";
  const step = `${child} comes from ${parent}: ${printable(c.relation)}${rank}.`;
  const moved = [...c.layers].sort((x, y) => (y.change ?? 0) - (x.change ?? 0)).slice(0, SHOWN);
  const figures = [
    ["Kinship", figure(c.kinship), "above 1: related"],
    ["Distance", figure(c.distance), "share of the parent's norm that changed"],
    ["Polarity", figure(c.polarity), "0: a child, 0.5: a sibling, 1: the parent"],
    ["Probability", percent(c.direction_probability), "of this direction"],
  ].filter(([, value]) => value !== "–");
  return [
    el("p", { class: "claim" }, c.parent ? step : (SAYS[c.relation] ?? printable(c.relation))),
    el("dl", { class: "figures" }, figures.map(([term, value, note]) => el("div", {}, el("dt", {}, term), el("dd", {}, value, el("small", {}, note))))),
    moved.length
      ? el(
          "table",
          { class: "pair" },
          el("caption", {}, `Most changed of ${many(c.layers.length, "layer")}`),
          el("thead", {}, el("tr", {}, ["Layer", "Change", "Cosine"].map((word) => el("th", { scope: "col" }, word)))),
          el("tbody", {}, moved.map((x) => el("tr", {}, el("th", { scope: "row" }, printable(x.name)), el("td", {}, figure(x.change)), el("td", {}, figure(x.cosine))))),
        )
      : "",
  ];
}

function placed(p) {
  const names = (ids) => ids.slice(0, SHOWN).map(printable).join(", ") + (ids.length > SHOWN ? ` and ${ids.length - SHOWN} more` : "");
  const id = printable(p.id);
  const said = {
    child: () => `${id} hangs from ${printable(p.parent)}: ${printable(p.edge.relation)}, distance ${figure(p.edge.distance)}, support ${percent(p.edge.support)}.`,
    sibling: () => `${id} has an ancestor that is not among the inputs, in common with ${names(p.siblings)}.`,
    root: () => (p.children.length ? `${id} is an ancestor: from it would hang ${names(p.children)}.` : `${id} is the root of its family.`),
    alone: () => `${id} is a stranger to all models here.`,
  }[p.found]();
  return [
    el("p", { class: "claim" }, said),
    p.copies.length ? el("p", {}, `It holds the very weights of ${names(p.copies)}.`) : "",
    p.found === "child" && p.children.length ? el("p", {}, `From it would hang ${names(p.children)}.`) : "",
    el("p", { class: "note" }, `Recovered with ${p.compared} of ${many(p.comparable, "comparable model")}. Nothing was stored.`),
  ].filter(Boolean);
}
