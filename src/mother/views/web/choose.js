/** Choosing one model, or two, and what the panel says of them. */

import { comparison } from "./compare.js";
import { alarm, announce, el, part } from "./dom.js";
import { printable } from "./names.js";
import { overview } from "./overview.js";
import { nameOf, panel } from "./panel.js";
import { all, careful, NARROW, note, page, root, step } from "./state.js";
import { bring, canvas, focusForest, rearrange, restyle } from "./views.js";

const COUNTED = 6000; // models of which a server is asked for all at the start

/** Choose a model; a second one with Shift, Control or after "Compare with". */
export async function pick(item, event = {}) {
  if (!item) return;
  if (item.entry.more) return void more(item);
  page.state.active = item;
  if (page.state.selected && page.state.selected !== item && (page.state.choosing || event.shiftKey || event.ctrlKey || event.metaKey)) {
    page.state.other = item;
  } else {
    page.state.selected = item;
    page.state.other = null;
  }
  setChoosing(false);
  note(true);
  await showPanel();
}

function more(item) {
  return careful(async () => {
    page.state.active = await page.forest.more(item);
    bring(page.state.active);
    restyle();
  });
}

/** Show a model by its key, wherever it is. */
async function go(key) {
  if (key === null) return;
  await goTo(key);
  part("panel-title")?.focus({ preventScroll: !NARROW.matches });
}

export function goTo(key, event) {
  return careful(async () => {
    const item = await page.forest.reveal(key);
    if (page.forest.only && !item.shown) await family("");
    bring(item);
    await pick(item, event);
  });
}

export function setChoosing(on) {
  page.state.choosing = on;
  document.body.classList.toggle("choosing", on);
  part("choosing").hidden = !on;
  if (on) announce("Choose the second model");
}

export function close() {
  if (page.state.other) page.state.other = null;
  else page.state.selected = null;
  note(true);
  showPanel();
  focusForest();
}

export async function showPanel() {
  const { selected, other } = page.state;
  restyle();
  const detailed = (item) => page.source.details(item.entry.key);
  const compare = () => {
    setChoosing(true);
    focusForest();
  };
  let content;
  let words = "";
  try {
    if (other) {
      content = comparison(...(await Promise.all([selected, other].map(detailed))), { go, close, weigh: page.about.weights && page.source.compare, called: page.about.called });
      words = `Comparing ${nameOf(selected.entry)} with ${nameOf(other.entry)}`;
    } else if (selected) {
      const details = await detailed(selected);
      const above = details.path.at(-2);
      const parent = above && !above.hidden ? await page.source.details(above.key) : null;
      content = panel(details, { go, compare, close, family: () => step(() => family(details.path[0].id)), print: printSheet, about: page.about, parent, inferred: part("inferred").checked });
      words = `Showing ${nameOf(selected.entry)}`;
    } else {
      const rows = page.about.whole && page.about.models <= COUNTED ? await all() : page.everything;
      content = overview(page.about, page.forest.roots.map((item) => item.entry).filter((entry) => !entry.more), rows, { go, only: (one) => page.acts.only([one]), source: page.source });
    }
    alarm("");
  } catch (fault) {
    // the ring is on that model: nothing of another may stand beside it
    content = [headed(selected), el("p", { class: "warning" }, printable(fault.message))];
    alarm(printable(fault.message));
  }
  if (selected !== page.state.selected || other !== page.state.other) return;
  part("panel").replaceChildren(...content.filter(Boolean));
  part("panel").scrollTop = 0;
  if (words) announce(words);
  if (NARROW.matches && selected) part("panel").scrollIntoView({ block: "start" });
}

function headed(item) {
  return el("h2", { id: "panel-title", tabindex: "-1" }, item ? nameOf(item.entry) : "Overview");
}

function printSheet() {
  for (const part_ of part("panel").querySelectorAll("details")) part_.open = true;
  document.body.dataset.print = "sheet";
  window.print();
}

/** Only the tree of that root; all for "". */
export async function family(id) {
  const key = id ? await page.source.find(id) : null;
  page.forest.only = key === null ? null : root(await page.forest.reveal(key));
  page.filters.family = page.forest.only?.entry.key ?? null;
  if (!page.look) return;
  await page.acts.refilter();
  rearrange();
  canvas.home();
}
