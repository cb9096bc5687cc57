/** The start, the search and the filters, and what the reader opens. */

import { asked, tell } from "./address.js";
import { close, family, goTo, pick, setChoosing, showPanel } from "./choose.js";
import { distanceAt, offerColours, readGraph, readTable, sayLimits, wire } from "./controls.js";
import { alarm, announce, part } from "./dom.js";
import { Forest } from "./forest.js";
import { many, printable } from "./names.js";
import { annotated } from "./own.js";
import { served } from "./served.js";
import { embedded } from "./source.js";
import { all, careful, NARROW, note, page, step } from "./state.js";
import { bring, canvas, dark, fillTable, focusForest, printing, rearrange, restyle, ring, setTheme, setView, toggle } from "./views.js";

const DARK = window.matchMedia("(prefers-color-scheme: dark)");
const LOOK_AGAIN = 5000; // milliseconds

page.acts = {
  ...{ pick, goTo, only, refilter, search, next, slide, clear, walk, ring, escape, canvas, openAll, openGraph, openTable, drop, focusForest },
  ...{ colour: recolour, guesses: () => (recolour(), showPanel()), stretch: rearrange, view: (view) => step(() => setView(view)), theme: () => setTheme(!dark()) },
  ...{ closeAll: () => page.forest.closeAll(), stopChoosing: () => setChoosing(false), look: () => page.look },
};

/** Show what a source holds, in place of what is shown. */
async function start(from) {
  page.source = annotated(from);
  page.about = await page.source.about();
  page.state = { active: null, selected: null, other: null, choosing: false, found: null, keys: [], at: -1, query: "" };
  page.everything = null;
  page.shown = [];
  canvas.placed = false;
  page.forest = new Forest(page.source, rearrange);
  document.title = page.about.title;
  part("title").textContent = printable(page.about.title);
  part("counts").textContent = [
    many(page.about.models, "model"),
    many(page.about.trees, "tree"),
    page.about.hidden ? many(page.about.hidden, "hidden ancestor") : "",
    page.about.refused.length ? `${page.about.refused.length} not read` : "",
  ].filter(Boolean).join(" · ");
  part("empty").hidden = page.about.models + page.about.hidden > 0;
  const has = (key) => page.about.attributes.some((x) => x.key === key);
  part("with-inferred").hidden = !page.about.inferred;
  part("least").hidden = !has("support");
  part("furthest").hidden = part("stretch").hidden = !has("distance");
  offerColours(page.about.attributes, asked().colour || page.about.attributes[0]?.key || "");
  await page.forest.start(page.about.models + page.about.hidden, page.about.trees);
  await restore();
  document.body.dataset.ready = "true";
}

/** The page as the address has it. */
async function restore() {
  const wanted = asked();
  page.filters.clear();
  page.filters.only = wanted.only;
  page.filters.support = Math.max(0, Math.min(1, Number(wanted.support) || 0));
  page.filters.distance = wanted.distance && Number(wanted.distance) >= 0 ? Number(wanted.distance) : Infinity;
  if (wanted.family) await family(wanted.family);
  else page.forest.only = null;
  part("search").value = wanted.q;
  part("length").checked = wanted.length === "1";
  if (wanted.colour) part("colour").value = wanted.colour;
  const find = async (id) => (id ? await page.source.find(id) : null);
  const [one, two] = [await find(wanted.model), await find(wanted.with)];
  page.state.selected = one === null ? null : await page.forest.reveal(one);
  page.state.other = two === null || !page.state.selected ? null : await page.forest.reveal(two);
  page.state.active = page.state.other ?? page.state.selected ?? page.state.active;
  await refilter();
  rearrange();
  setView(["tree", "list", "map"].includes(wanted.view) ? wanted.view : NARROW.matches ? "list" : "tree");
  await showPanel();
}

/** What passes the search and the filters. */
async function refilter() {
  const query = part("search").value;
  const searched = query.trim() ? await page.source.search(query) : null;
  const passed = page.filters.on ? page.filters.keys(await all()) : null;
  if (query !== part("search").value) return;
  const both = searched && passed ? new Set(passed) : null;
  page.state.keys = both ? searched.filter((key) => both.has(key)) : (searched ?? passed ?? []);
  page.state.found = searched || passed ? new Set(page.state.keys) : null;
  [page.state.query, page.state.at] = [query, -1];
  part("matches").textContent = page.state.found ? many(page.state.keys.length, "match", "matches") : "";
  sayLimits(page.filters, furthest());
  if (document.body.dataset.view === "list") await fillTable();
}

async function search() {
  const known = await careful(async () => (await refilter(), true));
  if (!known) part("matches").textContent = "not known";
  else {
    note();
    restyle();
  }
}

function furthest() {
  return page.about.attributes.find(({ key }) => key === "distance")?.high || 1;
}

function slide() {
  page.filters.support = Number(part("support").value) / 100;
  page.filters.distance = distanceAt(Number(part("distance").value), furthest());
  return search();
}

/** Only what these say, or no longer; all of them together. */
function only(these) {
  return step(async () => {
    const has = these.every((one) => page.filters.has(one));
    for (const one of these) if (page.filters.has(one) === has) page.filters.toggle(one);
    await search();
  });
}

function clear() {
  return step(async () => {
    page.filters.clear();
    page.forest.only = null;
    await search();
    rearrange();
  });
}

async function next(by) {
  // who types and presses Enter means what was typed, not what was found before
  if (part("search").value !== page.state.query) await search();
  const { keys } = page.state;
  if (!page.state.found || !keys.length) return;
  page.state.at = (page.state.at + by + keys.length) % keys.length;
  part("matches").textContent = `${page.state.at + 1} of ${keys.length.toLocaleString("en")}`;
  await goTo(keys[page.state.at]);
}

function recolour() {
  note(true);
  restyle();
  if (document.body.dataset.view === "list") fillTable();
}

async function openAll() {
  const whole = await careful(() => page.forest.openAll());
  announce(whole ? "All open" : "As many levels open as can be shown");
}

/** Arrow keys as in any tree (WAI-ARIA). */
function walk(event) {
  const { active } = page.state;
  if (!active || event.altKey || event.metaKey || event.ctrlKey) return;
  const at = page.shown.indexOf(active);
  const to = {
    ArrowDown: () => page.shown[at + 1],
    ArrowUp: () => page.shown[at - 1],
    Home: () => page.shown[0],
    End: () => page.shown.at(-1),
    PageDown: () => page.shown[Math.min(at + 10, page.shown.length - 1)],
    PageUp: () => page.shown[Math.max(at - 10, 0)],
    ArrowRight: () => (active.open ? active.kids[0] : void toggle(active)),
    ArrowLeft: () => (active.open ? void page.forest.close(active) : active.parent),
    Enter: () => void pick(active, event),
    " ": () => void pick(active, event),
    c: () => void (page.state.selected ? pick(active, { shiftKey: true }) : pick(active)),
  }[event.key];
  if (!to) return;
  event.preventDefault();
  const item = to();
  if (item) {
    page.state.active = item;
    bring(item);
  }
  restyle();
}

function escape() {
  if (part("keys").open) return;
  if (page.state.choosing) setChoosing(false);
  else if (part("search").value) {
    part("search").value = "";
    search();
  } else if (page.state.other || page.state.selected) close();
  else if (page.filters.on) clear();
}

async function openGraph(file) {
  const data = await readGraph(file, page.about.palette);
  if (!data) return;
  tell({ only: [] }, true);
  part("search").value = "";
  await start(embedded(data));
  announce(`Opened ${printable(file.name)}`);
}

async function openTable(file) {
  const own = await readTable(file, await all());
  if (!own) return;
  page.source.give(own.by);
  page.everything = (await all()).map(page.source.add);
  for (const item of page.forest.items.values()) item.entry = page.source.add(item.entry);
  const named = new Set(own.attributes.map(({ key }) => key));
  page.about.attributes = [...page.about.attributes.filter(({ key }) => !named.has(key)), ...own.attributes];
  offerColours(page.about.attributes, own.attributes[0].key);
  recolour();
}

/** A graph, a table, or a checkpoint, dropped on the page. */
function drop(files) {
  const [{ name }] = files;
  if (/\.(csv|tsv|txt)$/i.test(name)) return openTable(files[0]);
  return /\.json$/i.test(name) ? openGraph(files[0]) : placeFile(files);
}

/** As if it had been chosen in the overview, which shows what comes of it. */
async function placeFile(files) {
  if (!page.about.weights) {
    const how = page.source.place ? "mother serve … --allow FOLDER" : "mother serve graph.json --allow FOLDER";
    return void alarm(`${printable(files[0].name)}: no graph.json and no table. To see where a checkpoint would hang: ${how}`);
  }
  page.state.selected = page.state.other = null;
  note(true);
  await showPanel();
  const field = part("place-file");
  if (!field) return; // the server is silent, and the panel says so
  field.files = files;
  field.dispatchEvent(new Event("change"));
}

/** Whether the index has grown since; what is on the page stays until it is asked to change. */
async function lookAgain() {
  if (document.hidden) return;
  const now = await page.source.about().catch(() => page.about);
  part("grown").hidden = now.version === page.about.version;
}

const inside = part("graph");
if (inside) {
  const graph = JSON.parse(inside.textContent);
  setTheme(DARK.matches);
  document.body.dataset.view = NARROW.matches ? "list" : "tree";
  wire(page.acts);
  DARK.addEventListener("change", () => setTheme(DARK.matches));
  window.addEventListener("popstate", () => careful(restore));
  window.addEventListener("beforeprint", () => printing(true));
  window.addEventListener("afterprint", () => {
    delete document.body.dataset.print;
    printing(false);
  });
  part("grown").addEventListener("click", () => window.location.reload());
  start(graph ? embedded(graph) : served()).then(() => {
    if (typeof page.about.version === "number") window.setInterval(lookAgain, LOOK_AGAIN);
  });
}
