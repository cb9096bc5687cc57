/** What is shown, and of what: one object that all of the page looks at. */

import { tell } from "./address.js";
import { alarm, part } from "./dom.js";
import { Filters } from "./filters.js";
import { printable } from "./names.js";

export const NARROW = window.matchMedia("(max-width: 47.99em)");

export const page = {
  ...{ source: null, forest: null, about: null, look: null, everything: null },
  filters: new Filters(),
  shown: [], // the items that are open, in the order of the page
  state: {},
};

/** All entries, those that were fetched where a source can't give all. */
export async function all() {
  if (page.about.whole) page.everything ??= await page.source.rows();
  return page.everything ?? page.forest.visible().map((item) => item.entry);
}

/** Do it, and note it in the address as a step that Back undoes. */
export async function step(act) {
  await act();
  note(true);
}

export function note(isStep = false) {
  const first = page.about.attributes[0]?.key ?? "";
  const home = NARROW.matches ? "list" : "tree";
  const { view } = document.body.dataset;
  tell(
    {
      model: page.state.selected?.entry.id,
      with: page.state.other?.entry.id,
      q: part("search").value.trim(),
      colour: part("colour").value === first ? "" : part("colour").value,
      family: page.forest.only?.entry.id,
      support: page.filters.support ? String(page.filters.support) : "",
      distance: page.filters.distance < Infinity ? String(Number(page.filters.distance.toPrecision(3))) : "",
      view: view === home ? "" : view,
      length: part("length").checked ? "1" : "",
      only: page.filters.only,
    },
    isStep,
  );
}

/** What goes wrong is said, and heard; a server that answers again is none that is silent. */
export async function careful(act) {
  try {
    const done = await act();
    alarm("");
    return done;
  } catch (fault) {
    alarm(printable(fault.message));
    return undefined;
  }
}

export function root(item) {
  let at = item;
  while (at.parent) at = at.parent;
  return at;
}
