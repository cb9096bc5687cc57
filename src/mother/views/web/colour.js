/** What a colour means. */

import { el, part } from "./dom.js";
import { count, figure, percent, printable, shortened } from "./names.js";

const SERIES = ["fine-tune", "continuation", "lora", "quantized", "merge", "pruned", "converted"];
const SHARES = ["support", "direction_probability"];
const STEPS = 6;
const RAMP = [
  ["#b9d4f0", "#8db9e6", "#5f9bd8", "#3b7cc2", "#205c9f", "#0f3d73"],
  ["#24405f", "#2f5e8f", "#3f7fbf", "#66a3dd", "#9cc7f0", "#d3e8fc"],
];

/** A scale for one attribute: `of(values)` is a colour or null, `entries` the legend. */
export function scale(attribute, palette, dark) {
  const tone = dark ? 1 : 0;
  const other = palette.other[tone];
  if (!attribute) return { key: "", of: () => other, entries: [] };
  const { key } = attribute;
  if (attribute.values) {
    const colours = new Map();
    attribute.values.forEach((value, k) => {
      const own = key === "relation" ? palette.relations[value] : palette.relations[SERIES[k]];
      colours.set(value, own ? own[tone] : other);
    });
    const ours = attribute.values.filter((v) => colours.get(v) !== other);
    const rest = attribute.values.filter((v) => colours.get(v) === other);
    const entries = ours.map((v) => [shortened(printable(v), 28), colours.get(v)]);
    if (rest.length) {
      entries.push([rest.length === 1 ? shortened(printable(rest[0]), 28) : `${rest.length} others`, other]);
    }
    return { key, of: (values) => colours.get(values[key]) ?? null, entries };
  }
  const low = SHARES.includes(key) ? 0 : attribute.low;
  const high = SHARES.includes(key) ? 1 : attribute.high;
  const wide = high > low && low > 0 && high / low > 50;
  const place = (x) => (wide ? Math.log(x / low) / Math.log(high / low) : (x - low) / (high - low || 1));
  const says = key === "parameters" ? count : SHARES.includes(key) ? percent : figure;
  const step = (x) => Math.max(0, Math.min(STEPS - 1, Math.floor(place(x) * STEPS)));
  const from = (k) => (wide ? low * (high / low) ** (k / STEPS) : low + ((high - low) * k) / STEPS);
  return {
    key,
    of: ({ [key]: x }) => (typeof x === "number" ? RAMP[tone][step(x)] : null),
    entries: RAMP[tone].map((colour, k) => [`from ${says(from(k))}`, colour]),
  };
}

/** The name of an attribute for people. */
export function title(key) {
  const words = { dtype: "number type", parameters: "size", direction_probability: "probability" }[key];
  return printable(words ?? key.replaceAll("_", " ")).replace(/^./u, (c) => c.toUpperCase());
}

export function showLegend(scale, { hidden, undirected, support }) {
  const line = (colour, words, kind = "") =>
    el("li", {}, el("span", { class: `swatch ${kind}`, "--colour": colour, "aria-hidden": "true" }), words);
  part("legend").replaceChildren(
    ...scale.entries.map(([words, colour]) => line(colour, words)),
    ...(hidden ? [line("var(--faint)", "hidden ancestor", "dashed")] : []),
    ...(undirected ? [line("var(--soft)", "direction unknown", "diamond")] : []),
    ...(support ? [el("li", {}, "width and number: support in %")] : []),
  );
}
