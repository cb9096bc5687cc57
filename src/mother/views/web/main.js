/** One state, three views of it: canvas, list, panel. */

import { Canvas } from "./canvas.js";
import { scale, showLegend, title } from "./colour.js";
import { comparison } from "./compare.js";
import { announce, el, part } from "./dom.js";
import { Forest } from "./forest.js";
import { arrange } from "./layout.js";
import { List } from "./list.js";
import { many } from "./names.js";
import { overview } from "./overview.js";
import { nameOf, panel } from "./panel.js";
import { served } from "./served.js";
import { embedded } from "./source.js";

const NARROW = window.matchMedia("(max-width: 47.99em)");
const DARK = window.matchMedia("(prefers-color-scheme: dark)");

const LOOK_AGAIN = 5000; // milliseconds

export async function start(source) {
  const about = await source.about();
  const state = { active: null, selected: null, other: null, choosing: false, found: null, at: -1 };
  const forest = new Forest(source, rearrange);
  const acts = { onpick: pick, ontoggle: (item) => forest.toggle(item) };
  const canvas = new Canvas(part("canvas"), { ...acts, onpick: point, onhover: hover });
  const list = new List(part("tree"), acts);
  let shown = [];
  let look = null;

  document.title = about.title;
  part("title").textContent = about.title;
  part("counts").textContent = [
    many(about.models, "model"),
    many(about.trees, "tree"),
    about.hidden ? many(about.hidden, "hidden ancestor") : "",
    about.refused.length ? `${about.refused.length} not read` : "",
  ].filter(Boolean).join(" · ");
  part("colour").append(
    ...about.attributes.map(({ key }) => el("option", { value: key }, title(key))),
    el("option", { value: "" }, "Nothing"),
  );

  /** After opening, closing: places and order are new. */
  function rearrange(anchor) {
    const before = anchor?.shown && [anchor.x, anchor.y];
    for (const item of shown) item.shown = false;
    shown = forest.visible();
    for (const item of shown) item.shown = true;
    number(forest.roots);
    for (const item of shown) if (item.open) number(item.kids);
    while (state.active && !state.active.shown) state.active = state.active.parent;
    state.active ??= shown[0] ?? null;
    const layout = arrange(forest, canvas.measure, canvas.aspect);
    look = looks();
    canvas.show(layout, look);
    list.show(shown, look);
    if (!canvas.placed) canvas.home();
    else if (before) canvas.follow(before, anchor);
  }

  function number(siblings) {
    siblings.forEach((item, k) => (item.place = k + 1));
  }

  /** After choosing, searching, another colour or theme. */
  function restyle() {
    look = looks();
    canvas.recolour(look);
    list.recolour(look);
  }

  function looks() {
    const style = getComputedStyle(document.documentElement);
    const theme = Object.fromEntries(
      ["surface", "raised", "ink", "soft", "faint", "line", "mark", "accent", "second"].map((name) => [
        name,
        style.getPropertyValue(`--${name}`).trim(),
      ]),
    );
    const attribute = about.attributes.find(({ key }) => key === part("colour").value);
    const colours = scale(attribute, about.palette, dark());
    const { found, active, selected, other } = state;
    const focused = document.activeElement === part("tree") ? [[active, theme.soft]] : [];
    const chosen = [[selected, theme.accent], [other, theme.second]];
    showLegend(colours, {
      hidden: about.hidden > 0,
      undirected: about.attributes.some(({ key }) => key === "undirected"),
      support: about.attributes.some(({ key }) => key === "support"),
    });
    return {
      theme,
      scale: colours,
      roots: forest.roots,
      active,
      selected,
      other,
      found: found && ((item) => found.has(item.entry.key)),
      dimmed: found && ((item) => !found.has(item.entry.key)),
      paths: chosen.filter(([item]) => item).reverse(),
      rings: [...focused, ...chosen].filter(([item]) => item),
    };
  }

  function dark() {
    return document.documentElement.dataset.theme === "dark";
  }

  function setTheme(isDark) {
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    if (look) restyle();
  }

  function hover(item) {
    const whole = item && `${nameOf(item.entry)}${item.entry.hidden ? ", not among the inputs" : ""}`;
    part("hint").textContent = whole ?? "";
    part("hint").hidden = !whole;
  }

  function point(item, event) {
    part("tree").focus({ preventScroll: true }); // so that the arrow keys go on from here
    pick(item, event);
  }

  /** Choose a model; a second one with Shift, Control or after "Compare with". */
  function pick(item, event = {}) {
    if (!item) return;
    if (item.entry.more) return void more(item);
    state.active = item;
    if (state.selected && state.selected !== item && (state.choosing || event.shiftKey || event.ctrlKey || event.metaKey)) {
      state.other = item;
    } else {
      state.selected = item;
      state.other = null;
    }
    setChoosing(false);
    showPanel();
  }

  async function more(item) {
    state.active = await forest.more(item);
    bring(state.active);
    restyle();
  }

  async function go(key) {
    const item = await forest.reveal(key);
    pick(item);
    bring(item);
    part("panel-title")?.focus({ preventScroll: !NARROW.matches });
  }

  function bring(item) {
    list.bring(item);
    canvas.bring(item);
  }

  function setChoosing(on) {
    state.choosing = on;
    document.body.classList.toggle("choosing", on);
    part("choosing").hidden = !on;
    if (on) announce("Choose the second model");
  }

  async function showPanel() {
    const { selected, other } = state;
    restyle();
    const close = () => {
      if (state.other) state.other = null;
      else state.selected = null;
      showPanel();
      part("tree").focus();
    };
    const compare = () => {
      setChoosing(true);
      part("tree").focus();
    };
    let content;
    if (other) {
      const both = await Promise.all([selected, other].map((item) => source.details(item.entry.key)));
      content = comparison(...both, { go, close, weigh: about.weights && source.compare });
      announce(`Comparing ${nameOf(selected.entry)} with ${nameOf(other.entry)}`);
    } else if (selected) {
      content = panel(await source.details(selected.entry.key), { go, compare, close });
      announce(`Showing ${nameOf(selected.entry)}`);
    } else content = overview(about, forest.roots.map((item) => item.entry).filter((entry) => !entry.more), go, about.weights && source.place);
    if (selected !== state.selected || other !== state.other) return;
    part("panel").replaceChildren(...content.filter(Boolean));
    part("panel").scrollTop = 0;
    if (NARROW.matches && selected) part("panel").scrollIntoView({ block: "start" });
  }

  async function search() {
    const query = part("search").value;
    const keys = await source.search(query);
    if (query !== part("search").value) return;
    state.found = query.trim() ? new Set(keys) : null;
    state.keys = keys;
    state.query = query;
    state.at = -1;
    part("matches").textContent = state.found ? many(keys.length, "match", "matches") : "";
    restyle();
  }

  async function next(step) {
    // who types and presses Enter means what was typed, not what was found before
    if (part("search").value !== (state.query ?? "")) await search();
    const { keys = [] } = state;
    if (!state.found || !keys.length) return;
    state.at = (state.at + step + keys.length) % keys.length;
    part("matches").textContent = `${state.at + 1} of ${keys.length.toLocaleString("en")}`;
    const item = await forest.reveal(keys[state.at]);
    pick(item);
    bring(item);
  }

  /** Whether the index has grown since; what is on the page stays until it is asked to change. */
  async function lookAgain() {
    if (document.hidden) return;
    const now = await source.about().catch(() => about);
    part("grown").hidden = now.version === about.version;
  }

  /** Arrow keys as in any tree (WAI-ARIA). */
  function walk(event) {
    const { active } = state;
    if (!active || event.altKey || event.metaKey || event.ctrlKey) return;
    const at = shown.indexOf(active);
    const to = {
      ArrowDown: () => shown[at + 1],
      ArrowUp: () => shown[at - 1],
      Home: () => shown[0],
      End: () => shown.at(-1),
      PageDown: () => shown[Math.min(at + 10, shown.length - 1)],
      PageUp: () => shown[Math.max(at - 10, 0)],
      ArrowRight: () => (active.open ? active.kids[0] : void forest.open(active)),
      ArrowLeft: () => (active.open ? void forest.close(active) : active.parent),
      Enter: () => pick(active, event),
      " ": () => pick(active, event),
      c: () => (state.selected ? pick(active, { shiftKey: true }) : pick(active)),
    }[event.key];
    if (!to) return;
    event.preventDefault();
    const item = to();
    if (item) {
      state.active = item;
      bring(item);
    }
    restyle();
  }

  function shortcuts(event) {
    if (event.key === "Escape") {
      if (state.choosing) setChoosing(false);
      else if (part("search").value) {
        part("search").value = "";
        search();
      } else if (state.other || state.selected) {
        if (state.other) state.other = null;
        else state.selected = null;
        showPanel();
      }
      return;
    }
    if (event.target.matches("input, select, textarea") || event.altKey || event.metaKey || event.ctrlKey) return;
    const does = {
      "/": () => part("search").focus(),
      "+": () => canvas.by(1.4),
      "=": () => canvas.by(1.4),
      "-": () => canvas.by(1 / 1.4),
      0: () => canvas.fit(),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }

  function setView(view) {
    document.body.dataset.view = view;
    part("as-tree").setAttribute("aria-pressed", String(view === "tree"));
    part("as-list").setAttribute("aria-pressed", String(view === "list"));
    canvas.resize();
    list.render();
    if (state.active) bring(state.active);
  }

  part("search").addEventListener("input", search);
  part("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") next(event.shiftKey ? -1 : 1);
  });
  part("colour").addEventListener("change", restyle);
  part("as-tree").addEventListener("click", () => setView("tree"));
  part("as-list").addEventListener("click", () => setView("list"));
  part("theme").addEventListener("click", () => setTheme(!dark()));
  part("open-all").addEventListener("click", async () => {
    const all = await forest.openAll();
    announce(all ? "All open" : "As many levels open as can be shown");
  });
  part("close-all").addEventListener("click", () => forest.closeAll());
  part("zoom-in").addEventListener("click", () => canvas.by(1.4));
  part("zoom-out").addEventListener("click", () => canvas.by(1 / 1.4));
  part("zoom-fit").addEventListener("click", () => canvas.fit());
  part("stop-choosing").addEventListener("click", () => setChoosing(false));
  part("tree").addEventListener("keydown", walk);
  for (const change of ["focus", "blur"]) {
    // only the ring on the canvas: a line that is written anew under the pointer gets no click
    part("tree").addEventListener(change, () => canvas.recolour((look = looks())));
  }
  document.addEventListener("keydown", shortcuts);
  DARK.addEventListener("change", () => setTheme(DARK.matches));
  window.addEventListener("beforeprint", () => list.render(true));
  window.addEventListener("afterprint", () => list.render());

  setTheme(DARK.matches);
  document.body.dataset.view = NARROW.matches ? "list" : "tree";
  part("grown").addEventListener("click", () => window.location.reload());
  if (typeof about.version === "number") window.setInterval(lookAgain, LOOK_AGAIN);
  await forest.start(about.models + about.hidden, about.trees);
  setView(document.body.dataset.view);
  await showPanel();
  document.body.dataset.ready = "true";
}

const inside = part("graph");
if (inside) {
  const graph = JSON.parse(inside.textContent);
  start(graph ? embedded(graph) : served());
}
