/** What only a server can do: read weights again, for two models or for a new one. */

import { announce, breakable, button, el } from "./dom.js";
import { figure, many, printable } from "./names.js";

const SHOWN = 10;
const LOUDEST = 5;

/** A button that compares two models by their weights, and the place for what comes of it. */
export function weighing(a, b, weigh) {
  const said = el("div", { "aria-live": "polite" });
  const run = button("Compare the weights", () => work(run, said, () => weigh(a, b), measured), { id: "weigh" });
  return el("section", {}, el("h3", {}, "By their weights"), said, el("p", { class: "actions" }, run));
}

/** A field for a path on the server's disk, and one for a file of the reader's. */
export function placing({ place, drop, find }, { go, allowed }) {
  if (!allowed) {
    return el(
      "section",
      { class: "placing" },
      el("h3", {}, "Where would a checkpoint hang?"),
      el("p", { class: "note" }, "No folder may be read. Start the server with one: ", el("code", {}, "mother serve … --allow FOLDER")),
    );
  }
  const said = el("div", { "aria-live": "polite" });
  const path = el("input", { id: "place-path", type: "text", spellcheck: "false", autocomplete: "off", maxlength: "4096" });
  const start = () => path.value.trim() && work(run, said, () => place(path.value.trim()), (p) => placed(p, { go, find }));
  const run = button("Place", start, { id: "place" });
  path.addEventListener("keydown", (event) => event.key === "Enter" && start());
  const file = el("input", { id: "place-file", type: "file", hidden: true });
  const choose = button("Choose a file…", () => file.click(), { id: "place-choose", title: "Or drop it on the page: it is sent to the server, and deleted when it is placed" });
  file.addEventListener("change", () => {
    const [sent] = file.files;
    if (sent) work(choose, said, () => drop(sent), (p) => placed(p, { go, find }));
  });
  return el(
    "section",
    { class: "placing" },
    el("h3", {}, "Where would a checkpoint hang?"),
    el("label", { for: "place-path" }, "Its path on the server, or the name of a model here"),
    el("p", { class: "actions" }, path, run, choose),
    file,
    said,
  );
}

async function work(run, said, ask, show) {
  run.disabled = true;
  said.replaceChildren(el("p", { class: "note" }, "Reading weights…"));
  try {
    said.replaceChildren(...show(await ask()));
    announce("Done");
  } catch (fault) {
    said.replaceChildren(el("p", { class: "warning" }, printable(fault.message)));
    announce(printable(fault.message));
  }
  run.disabled = false;
}

/** As much as the command line says: the relation, why, the layers that say most of the direction,
 * those that changed most, and what was not compared. */
function measured(c) {
  const [first, ...more] = c.said;
  const seen = c.parent === "b" ? c.layers.map(reversed) : c.layers;
  const telling = c.parent ? seen.filter((x) => x.log_odds) : [];
  const loud = [...telling].sort((x, y) => Math.abs(y.log_odds) - Math.abs(x.log_odds)).slice(0, LOUDEST);
  const moved = [...seen].sort((x, y) => (y.change ?? 0) - (x.change ?? 0)).slice(0, SHOWN);
  return [
    el("p", { class: "claim" }, printable(first)),
    el("ul", { class: "told" }, more.filter((line) => line.trim()).map((line) => el("li", {}, printable(line.trim())))),
    layers("Loudest on the direction: log-odds for it, against it below 0", loud, c.parent),
    layers(`Most changed of ${many(c.layers.length, "layer")}, as a share of the norm in ${c.parent ? "the parent" : printable(c.a)}`, moved, c.parent),
  ].filter(Boolean);
}

/** A layer as of b and a; `from_parent` of comparison.py. */
function reversed(layer) {
  const known = (x) => x !== null && x !== undefined;
  const odds = known(layer.log_odds) ? -layer.log_odds : null;
  if (!known(layer.polarity) || !known(layer.change)) return { ...layer, log_odds: odds };
  const share = layer.cosine ? (1 - layer.polarity * layer.change ** 2) / layer.cosine : 0;
  return { ...layer, change: share > 0 ? layer.change / share : null, polarity: 1 - layer.polarity, log_odds: odds };
}

function layers(caption, rows, parent) {
  if (!rows.length) return "";
  const columns = [["Change", (x) => x.change], ["Cosine", (x) => x.cosine], ["Polarity", (x) => x.polarity], ...(parent ? [["Log-odds", (x) => x.log_odds]] : [])];
  return el(
    "table",
    { class: "pair" },
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, ["Layer", ...columns.map(([name]) => name)].map((word) => el("th", { scope: "col" }, word)))),
    el("tbody", {}, rows.map((x) => el("tr", {}, el("th", { scope: "row" }, breakable(printable(x.name))), columns.map(([, of]) => el("td", {}, figure(of(x))))))),
  );
}

function placed(p, { go, find }) {
  const named = [p.found === "there" ? p.id : null, p.parent, ...p.siblings, ...p.children, ...p.copies].filter(Boolean).slice(0, SHOWN);
  const links = named.map((id) => el("li", {}, button(printable(id), async () => go(await find(id)), { class: "link" })));
  const [first, ...more] = p.said;
  return [
    el("p", { class: "claim" }, `${printable(first)}.`),
    more.length ? el("ul", { class: "told" }, more.slice(0, SHOWN).map((line) => el("li", {}, printable(line)))) : "",
    links.length ? el("p", { class: "note" }, "Show in the forest:") : "",
    links.length ? el("ul", { class: "trees" }, links) : "",
    p.found === "there" ? "" : el("p", { class: "note" }, `Recovered with ${p.compared} of ${many(p.comparable, "comparable model")}. Nothing was stored.`),
  ].filter(Boolean);
}
