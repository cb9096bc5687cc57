/** Tidy trees, one below the other, in columns that all trees share. */

import { printable, shortened } from "./names.js";

export const ROW = 24;
export const GAP = 76; // between the columns: bend, support, dot
const SIBLINGS = 1;
const COUSINS = 1.25;
const LONGEST = 44; // letters of a name
const EDGE = 24; // around it all

const tidy = d3
  .tree()
  .nodeSize([1, 1])
  .separation((a, b) => (a.parent === b.parent ? SIBLINGS : COUSINS));

/** Gives every visible item x, y, label, and width (of its label); returns the size of it all. */
export function arrange(forest, measure) {
  const items = [];
  const widths = [];
  let top = 0.5;
  let alone = true;
  for (const root of forest.roots) {
    const single = !root.open;
    top += items.length && !(alone && single) ? 0.6 : 0;
    alone = single;
    const placed = single
      ? [{ data: root, x: 0 }]
      : tidy(d3.hierarchy(root, (item) => (item.open ? item.kids : null))).descendants();
    let first = Infinity;
    let last = -Infinity;
    for (const { x } of placed) {
      first = Math.min(first, x);
      last = Math.max(last, x);
    }
    for (const { data: item, x } of placed) {
      item.y = EDGE + (x - first + top) * ROW;
      name(item, measure);
      widths[item.depth] ??= 0;
      if (item.open) widths[item.depth] = Math.max(widths[item.depth], item.width + 10);
      items.push(item);
    }
    top += last - first + 1;
  }
  const left = [EDGE];
  widths.forEach((width, depth) => left.push(left[depth] + width + GAP));
  let right = 0;
  for (const item of items) {
    item.x = left[item.depth];
    right = Math.max(right, item.x + 12 + item.width);
  }
  items.sort((a, b) => a.y - b.y);
  return { items, width: right + EDGE, height: 2 * EDGE + top * ROW };
}

function name(item, measure) {
  if (item.label === undefined) {
    item.label = item.entry.hidden ? "hidden ancestor" : shortened(printable(item.entry.name), LONGEST);
    item.badge = item.entry.children ? measure(`+ ${item.entry.below}`, item) + 14 : 0;
    item.text = measure(item.label, item);
  }
  item.width = item.text + (item.entry.children ? 8 + (item.open ? 18 : item.badge) : 0);
}
