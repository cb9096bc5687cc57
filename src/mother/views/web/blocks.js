/** Layers as a table, for graphs that are opened in the page: what blocks.py says, which lays out
 * those that the page was made with. The tests hold the two against each other. */

const NUMBER = /(?<=\.)\d{1,6}(?=\.)|^\d{1,6}(?=\.)/g;

/** What heat.js draws: {kinds, blocks, cells}. */
export function grid(names) {
  const counted = counters(names);
  let split = names.map((name) => halves(name, counted));
  const before = new Set(split.filter(([, block]) => block !== null).map(([kind]) => kind.split("*")[0]));
  if (before.size === 1) split = split.map(([kind, block]) => [block === null ? kind : rest(kind), block]);
  const kinds = [...new Set(split.map(([kind]) => kind))];
  const numbers = new Set(split.map(([, block]) => block).filter((block) => block !== null));
  const blocks = [...(split.some(([, block]) => block === null) ? [""] : []), ...[...numbers].sort((a, b) => a - b).map(String)];
  const [row, column] = [kinds, blocks].map((all) => new Map(all.map((one, k) => [one, k])));
  return { kinds, blocks, cells: split.map(([kind, block]) => [row.get(kind), column.get(block === null ? "" : String(block))]) };
}

/** What stands after the block's number, or all of it. */
function rest(kind) {
  const at = kind.indexOf("*.");
  return (at >= 0 && kind.slice(at + 2)) || kind;
}

/** The counting place before a number. */
const place = (name, { index }) => name.slice(0, index).replace(NUMBER, "#");

/** How many values each counting place of the names takes. */
function counters(names) {
  const values = new Map();
  for (const name of names) {
    for (const found of name.matchAll(NUMBER)) {
      const at = place(name, found);
      if (!values.has(at)) values.set(at, new Set());
      values.get(at).add(found[0]);
    }
  }
  return values;
}

/** A name without the number of its block, and that number; null outside any. */
function halves(name, counted) {
  const places = [...name.matchAll(NUMBER)];
  if (!places.length) return [name, null];
  const many = (found) => counted.get(place(name, found)).size;
  const block = places.reduce((best, found) => (many(found) > many(best) ? found : best));
  return [`${name.slice(0, block.index)}*${name.slice(block.index + block[0].length)}`, Number(block[0])];
}
