/** The drawing, the list, the map and the legend of what is shown. */

import { Canvas } from "./canvas.js";
import { scale, showLegend, title } from "./colour.js";
import { part } from "./dom.js";
import { arrange } from "./layout.js";
import { List } from "./list.js";
import { Matrix } from "./matrix.js";
import { figure, isChance, percent } from "./names.js";
import { likened, nameOf } from "./panel.js";
import { all, careful, note, page, root } from "./state.js";
import { Table } from "./table.js";

const THEME = ["surface", "raised", "ink", "soft", "faint", "line", "mark", "accent", "second"];
const OF_EDGES = ["relation", "grade", "stage", "support", "distance", "polarity", "direction_probability", "rank", "undirected"];

const pick = (...what) => page.acts.pick(...what);
const goTo = (...what) => page.acts.goTo(...what);
export const canvas = new Canvas(part("canvas"), { onpick: point, ontoggle: toggle, onhover: hover });
const list = new List(part("tree"), { onpick: pick, ontoggle: toggle });
const table = new Table(part("table"), { onpick: goTo, nameOfKey: (key) => page.everything?.find((e) => e.key === key)?.id ?? "" });
let theme = null; // which is slow to ask for
const map = new Matrix(part("map"), { onpick: goTo });

/** After opening, closing: places and order are new. */
export function rearrange(anchor) {
  const before = anchor?.shown && [anchor.x, anchor.y];
  for (const item of page.shown) item.shown = false;
  page.shown = page.forest.visible();
  for (const item of page.shown) item.shown = true;
  number(page.forest.tops);
  for (const item of page.shown) if (item.open) number(item.kids);
  while (page.state.active && !page.state.active.shown) page.state.active = page.state.active.parent;
  page.state.active ??= page.shown[0] ?? null;
  const layout = arrange(page.forest, canvas.measure, canvas.aspect, part("length").checked);
  page.look = looks();
  canvas.show(layout, page.look);
  list.show(page.shown, page.look);
  if (!canvas.placed) canvas.home();
  else if (before) canvas.follow(before, anchor);
  if (anchor instanceof Event) note();
}

function number(siblings) {
  siblings.forEach((item, k) => (item.place = k + 1));
}

/** After choosing, searching, another colour or theme. */
export function restyle() {
  page.look = looks();
  canvas.recolour(page.look);
  list.recolour(page.look);
  const { view } = document.body.dataset;
  if (view === "list") table.recolour(page.look);
  else if (view === "map" && map.entries) {
    map.look = page.look;
    map.paint();
  }
}

/** The theme's colours by name, as the style sheet has them. */
function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(THEME.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function looks() {
  theme ??= colours();
  const attribute = page.about.attributes.find(({ key }) => key === part("colour").value);
  const tones = scale(attribute, page.about.palette, dark(), attribute?.key === "architecture" ? page.about.called : {});
  const { found, active, selected, other } = page.state;
  const focused = document.activeElement === part("tree") ? [[active, theme.soft]] : [];
  const chosen = [[selected, theme.accent], [other, theme.second]];
  const has = (key) => page.about.attributes.some((x) => x.key === key);
  const inferred = part("inferred").checked && Boolean(attribute?.key.startsWith("~"));
  showLegend(tones, {
    inferred: inferred && page.about.inferred,
    ...{ hidden: page.about.hidden > 0, undirected: has("undirected"), support: has("support"), dots: !OF_EDGES.includes(tones.key) },
    has: (one) => page.filters.has(one),
    filter: page.acts.only,
  });
  return {
    ...{ theme, scale: tones, inferred, roots: page.forest.tops, active, selected, other },
    found: found && ((item) => found.has(item.entry.key)),
    dimmed: found && ((item) => !found.has(item.entry.key)),
    paths: chosen.filter(([item]) => item).reverse(),
    rings: [...focused, ...chosen].filter(([item]) => item),
  };
}

export function dark() {
  return document.documentElement.dataset.theme === "dark";
}

export function setTheme(isDark) {
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  theme = null;
  if (page.look) restyle();
}

function hover(item) {
  const whole = item && `${nameOf(item.entry)}${item.entry.hidden ? ", not among the inputs" : ""}`;
  part("hint").textContent = whole ?? "";
  part("hint").hidden = !whole;
}

export function toggle(item) {
  return careful(() => page.forest.toggle(item));
}

function point(item, event) {
  part("tree").focus({ preventScroll: true }); // so that the arrow keys go on from here
  pick(item, event);
}

export function bring(item) {
  list.bring(item);
  canvas.bring(item);
}

/** Only on the canvas: a line that is written anew under the pointer gets no click. */
export function ring() {
  if (page.look) canvas.recolour((page.look = looks()));
}

export function setView(view) {
  document.body.dataset.view = view;
  for (const one of ["tree", "list", "map"]) part(`as-${one}`).setAttribute("aria-pressed", String(view === one));
  canvas.resize();
  list.render();
  if (view === "list") fillTable();
  if (view === "map") fillMap();
  if (page.state.active && view === "tree") bring(page.state.active);
}

export function fillTable() {
  return careful(async () => {
    const entries = await all();
    const key = part("colour").value;
    const passed = page.state.found ? entries.filter((entry) => page.state.found.has(entry.key)) : entries;
    const says = key === "architecture" ? (x) => likened(x, page.about.called) : isChance(key) ? percent : figure;
    table.show(passed, page.look ?? looks(), key ? { key, title: title(key), says, guess: part("inferred").checked && key.startsWith("~") ? `?${key.slice(1)}` : null } : null);
  });
}

/** The family of the model that is chosen, or that in which most distances are known. */
function fillMap() {
  return careful(async () => {
    const entries = await all();
    const top = page.forest.only ?? (page.state.selected && root(page.state.selected));
    const key = top?.entry.key ?? mostKnown(entries);
    const inside = new Set([key]);
    for (const entry of entries) if (inside.has(entry.parent)) inside.add(entry.key);
    map.show(entries.filter((entry) => inside.has(entry.key)), page.look);
  });
}

/** The key of the root below which most steps have a distance; of several the first. */
function mostKnown(entries) {
  const root = new Map();
  const known = new Map();
  for (const { key, parent, edge } of entries) {
    const top = root.get(parent) ?? key;
    root.set(key, top);
    known.set(top, (known.get(top) ?? 0) + (typeof edge?.distance === "number" ? 1 : 0));
  }
  return [...known].reduce((best, one) => (one[1] > best[1] ? one : best), [entries[0]?.key, 0])[0];
}

/** To where models are chosen by the keyboard. */
export function focusForest() {
  const inTable = document.body.dataset.view === "list" && part("table").querySelector(".chosen button, .cells button");
  (inTable || part("tree")).focus();
}

/** All lines on paper, those in view on a screen. */
export function printing(on) {
  list.render(on);
}
