/** Which models are looked at: by what the legend says, by figures, by family. */

const BETWEEN = "~";

export class Filters {
  constructor() {
    this.clear();
  }

  clear() {
    this.only = []; // "attribute:value", or "attribute:low~high" of figures
    this.support = 0;
    this.distance = Infinity;
    this.family = null; // the key of its root
  }

  get on() {
    return this.only.length > 0 || this.support > 0 || this.distance < Infinity || this.family !== null;
  }

  has(one) {
    return this.only.includes(one);
  }

  toggle(one) {
    this.only = this.has(one) ? this.only.filter((x) => x !== one) : [...this.only, one];
  }

  /** Keys of the entries that pass, which are in the order of the forest. */
  keys(entries) {
    const wanted = new Map();
    for (const one of this.only) {
      const at = one.indexOf(":");
      const key = one.slice(0, at);
      const attribute = key.replace(/^\?/, "~"); // what is inferred of it is another choice, no other attribute
      if (!wanted.has(attribute)) wanted.set(attribute, []);
      wanted.get(attribute).push([key, one.slice(at + 1)]);
    }
    const root = new Map();
    const out = [];
    for (const entry of entries) {
      root.set(entry.key, entry.parent === null ? entry.key : (root.get(entry.parent) ?? entry.parent));
      if (this.family !== null && root.get(entry.key) !== this.family) continue;
      if (this.#passes(entry, wanted)) out.push(entry.key);
    }
    return out;
  }

  #passes({ edge, values, needs }, wanted) {
    if (this.support > 0 && !(edge?.support >= this.support)) return false;
    if (this.distance < Infinity && !(edge?.distance <= this.distance)) return false;
    const passes = ([key, one]) => (key === "needs" ? needs : [values[key]]).some((value) => fits(value, one));
    for (const any of wanted.values()) if (!any.some(passes)) return false;
    return true;
  }
}

function fits(value, one) {
  if (typeof value === "number" && one.includes(BETWEEN)) {
    const [low, high] = one.split(BETWEEN).map(Number);
    return value >= low && value <= high;
  }
  return value !== undefined && value !== null && String(value) === one;
}

/** Figures from `low` on, up to `high`, as a filter. */
export function between(key, low, high) {
  return `${key}:${low}${BETWEEN}${high}`;
}
