/** Buttons, sliders, files and keys of the page, and what they call. */

import { alarm, announce, el, part } from "./dom.js";
import { opened } from "./graphs.js";
import { showKeys } from "./keys.js";
import { many, moved, percent, printable } from "./names.js";
import { scaleOf, table } from "./own.js";
import { copy, download, png, svg } from "./save.js";
import { title } from "./colour.js";

const OWN_LARGEST = 1 << 26; // bytes of a table

/** A distance for each place of the slider: nothing to all, by square roots. */
export function distanceAt(place, most) {
  return place >= 100 ? Infinity : most * (place / 100) ** 2;
}

export function placeOf(distance, most) {
  return distance >= most ? 100 : Math.round(100 * Math.sqrt(distance / most));
}

/** acts: what the page can do, by name. */
export function wire(acts) {
  const on = (id, event, act) => part(id).addEventListener(event, act);
  const click = (id, act) => on(id, "click", act);
  on("search", "input", acts.search);
  on("search", "keydown", (event) => {
    if (event.key === "Enter") acts.next(event.shiftKey ? -1 : 1);
  });
  on("colour", "change", acts.colour);
  for (const id of ["support", "distance"]) on(id, "input", acts.slide);
  on("length", "change", acts.stretch);
  on("inferred", "change", acts.guesses);
  for (const view of ["tree", "list", "map"]) click(`as-${view}`, () => acts.view(view));
  click("theme", acts.theme);
  click("clear", acts.clear);
  click("open-all", acts.openAll);
  click("close-all", acts.closeAll);
  click("zoom-in", () => acts.canvas.by(1.4));
  click("zoom-out", () => acts.canvas.by(1 / 1.4));
  click("zoom-fit", () => acts.canvas.fit());
  click("stop-choosing", acts.stopChoosing);
  click("help", showKeys);
  click("link", () => copy(window.location.href, "Link copied"));
  click("save-svg", () => download("forest.svg", svg(acts.canvas, acts.look()), "image/svg+xml"));
  click("save-png", () => png(acts.canvas, acts.look(), "forest.png"));
  click("more", () => {
    const open = document.body.classList.toggle("tooled");
    part("more").setAttribute("aria-expanded", String(open));
  });
  for (const [opener, field, take] of [["open-graph", "graph-file", acts.openGraph], ["open-table", "table-file", acts.openTable]]) {
    click(opener, () => part(field).click());
    on(field, "change", () => {
      const [file] = part(field).files;
      if (!file) return;
      take(file);
      part(field).value = ""; // the same file again is another choice
    });
  }
  on("tree", "keydown", acts.walk);
  for (const change of ["focus", "blur"]) on("tree", change, acts.ring);
  document.addEventListener("keydown", (event) => keys(event, acts));
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address holds the state of the page
    acts.focusForest();
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer?.files.length) acts.drop(event.dataTransfer.files);
  });
}

function keys(event, acts) {
  if (event.key === "Escape") return acts.escape();
  if (event.target.matches("input:not([type=range], [type=checkbox]), select, textarea") || event.altKey || event.metaKey || event.ctrlKey) return;
  const does = {
    "/": () => part("search").focus(),
    "?": showKeys,
    "+": () => acts.canvas.by(1.4),
    "=": () => acts.canvas.by(1.4),
    "-": () => acts.canvas.by(1 / 1.4),
    0: () => acts.canvas.fit(),
  }[event.key];
  if (!does || part("keys").open) return;
  event.preventDefault();
  does();
}

/** What the sliders say. */
export function sayLimits(filters, most) {
  part("support").value = Math.round(100 * filters.support);
  part("distance").value = placeOf(filters.distance, most);
  part("support-said").textContent = filters.support > 0 ? percent(filters.support) : "any";
  part("distance-said").textContent = filters.distance < Infinity ? moved(filters.distance) : "any";
  part("clear").hidden = !filters.on;
}

/** A graph.json that the reader opens, as the page's data; null, and why it is none is said. */
export async function readGraph(file, palette) {
  try {
    return await opened(file, palette);
  } catch (fault) {
    alarm(printable(fault.message));
    return null;
  }
}

/** Columns of the reader's own, to colour and filter by; null, and why there are none is said. */
export async function readTable(file, rows) {
  if (file.size > OWN_LARGEST) return void alarm(`${printable(file.name)} is too large for a table`);
  const { columns, by } = table(await file.text());
  const ids = new Set(rows.map(({ id }) => id));
  const known = [...by.keys()].filter((name) => ids.has(name));
  if (!columns.length || !known.length) {
    return void alarm(`${printable(file.name)}: no line starts with the name of a model here. The first column holds names, the first line what the others are.`);
  }
  alarm("");
  announce(`${many(columns.length, "column")} for ${many(known.length, "model")} of ${rows.length}`);
  return { by: new Map(known.map((name) => [name, by.get(name)])), attributes: columns.map((column) => scaleOf(column, by)) };
}

export function offerColours(attributes, chosen) {
  part("colour").replaceChildren(...attributes.map(({ key }) => el("option", { value: key }, title(key))), el("option", { value: "" }, "Nothing"));
  part("colour").value = chosen;
}
