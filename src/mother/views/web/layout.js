/** Tidy trees, one below the other; levels line up from tree to tree. */

import { printable, shortened } from "./names.js";

export const ROW = 24;
export const GAP = 76; // between the columns: bend, support, dot
const SIBLINGS = 1;
const COUSINS = 1.25;
const LONGEST = 44; // letters of a name
const EDGE = 24; // around it all
const APART = 14; // between trees
const LONGEST_STEP = 360; // of the furthest child from its parent
const TALL = 4000; // a forest below this height is one column

const tidy = d3
  .tree()
  .nodeSize([1, 1])
  .separation((a, b) => (a.parent === b.parent ? SIBLINGS : COUSINS));

/** Gives every visible item x, y, bend (where its line leaves the vertical), label, and width (of its
 * label); returns the size of it all. aspect: width over height of what it is looked at through; a
 * tall forest is set in columns. stretched: steps are as long as their distance. */
export function arrange(forest, measure, aspect, stretched = false) {
  const trees = forest.tops.map((root) => tree(root, measure));
  const furthest = stretched ? longest(trees) : 0;
  const height = trees.reduce((sum, { rows }) => sum + rows * ROW, 0);
  const wide = widths(trees).reduce((sum, width) => sum + width + GAP, 0);
  const columns = height < TALL ? 1 : Math.max(1, Math.round(Math.sqrt((height * aspect) / wide)));
  const items = [];
  const size = { width: 0, height: 0 };
  let left = EDGE;
  for (const column of filled(trees, height / columns)) {
    const edges = [left];
    widths(column).forEach((width, depth) => edges.push(edges[depth] + width + GAP));
    let top = EDGE;
    for (const [k, { placed, first, rows, single }] of column.entries()) {
      if (k && !(single && column[k - 1].single)) top += APART;
      for (const { data: item, x } of placed) {
        item.x = furthest ? along(item, edges[0], furthest) : edges[item.depth];
        item.bend = furthest && item.parent?.shown ? item.parent.x + 28 + item.parent.width : item.x - GAP + 12;
        item.y = top + (x - first + 0.5) * ROW;
        size.width = Math.max(size.width, item.x + 12 + item.width + EDGE);
        items.push(item);
      }
      top += rows * ROW;
    }
    size.height = Math.max(size.height, top + EDGE);
    left = size.width + GAP;
  }
  return { items, ...size };
}

/** The longest step of any model. */
function longest(trees) {
  let most = 0;
  for (const { placed } of trees) for (const { data } of placed) most = Math.max(most, data.entry.edge?.distance ?? 0);
  return most;
}

/** After its parent's name, a step as long as its distance. */
function along(item, left, furthest) {
  if (!item.parent?.shown) return left;
  return item.parent.x + item.parent.width + GAP + (LONGEST_STEP * (item.entry.edge?.distance ?? 0)) / furthest;
}

/** One tree by itself: its places in rows, and how many it takes. */
function tree(root, measure) {
  const single = !root.open;
  const placed = single
    ? [{ data: root, x: 0 }]
    : tidy(d3.hierarchy(root, (item) => (item.open ? item.kids : null))).descendants();
  let first = Infinity;
  let last = -Infinity;
  for (const { data: item, x } of placed) {
    first = Math.min(first, x);
    last = Math.max(last, x);
    name(item, measure);
  }
  return { placed, first, rows: last - first + 1, single };
}

/** The widest name at each depth, of those beside which something lies further right. */
function widths(trees) {
  const out = [];
  for (const { placed } of trees) {
    const furthest = new Map(); // by quarter of a row
    for (const { data: item, x } of placed) furthest.set(quarter(x), Math.max(furthest.get(quarter(x)) ?? 0, item.depth));
    for (const { data: item, x } of placed) {
      const beside = item.open || LINE.some((k) => furthest.get(quarter(x) + k) > item.depth);
      out[item.depth] = Math.max(out[item.depth] ?? 0, beside ? item.width + 10 : 0);
    }
  }
  return out;
}

const LINE = [-3, -2, -1, 0, 1, 2, 3]; // quarters of a row that are less than a row away
const quarter = (x) => Math.round(4 * x);

/** Trees in columns, each about as high as wanted. */
function filled(trees, wanted) {
  const out = [[]];
  let height = 0;
  for (const one of trees) {
    const rows = one.rows * ROW;
    if (out.at(-1).length && height + rows / 2 > wanted) {
      out.push([]);
      height = 0;
    }
    out.at(-1).push(one);
    height += rows;
  }
  return out;
}

function name(item, measure) {
  if (item.label === undefined) {
    item.label = shortened(printable(item.entry.name), LONGEST);
    item.badge = item.entry.children ? measure(`+ ${item.entry.below}`, item) + 14 : 0;
    item.text = measure(item.label, item);
  }
  item.width = item.text + (item.entry.children ? 8 + (item.open ? 18 : item.badge) : 0);
}
