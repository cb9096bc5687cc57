/** What a colour means. */

import { el, part } from "./dom.js";
import { between } from "./filters.js";
import { count, figure, isChance, percent, printable, shortened } from "./names.js";

const SERIES = ["fine-tune", "continuation", "lora", "quantized", "merge", "pruned", "converted"];
const STEPS = 6;
const RAMP = [
  ["#b9d4f0", "#8db9e6", "#5f9bd8", "#3b7cc2", "#205c9f", "#0f3d73"],
  ["#24405f", "#2f5e8f", "#3f7fbf", "#66a3dd", "#9cc7f0", "#d3e8fc"],
];

/** A scale for one attribute: `of(values)` is a colour or null, `guess(values)` that of what is
 * inferred, `entries` the legend, `guesses` that of what is inferred. */
export function scale(attribute, palette, dark, called = {}) {
  const other = palette.other[dark ? 1 : 0];
  if (!attribute) return { key: "", of: () => other, guess: () => null, entries: [], guesses: [] };
  const found = coloured(attribute, palette, dark, called);
  const inferred = attribute.key.startsWith("~") && `?${attribute.key.slice(1)}`;
  const guesses = attribute.values
    ? (attribute.guessed ?? []).map((v) => [`${shortened(printable(v), 28)}, inferred`, found.of({ [attribute.key]: v }), [`${inferred}:${v}`]])
    : attribute.guessed ? [["inferred", "var(--soft)", [between(inferred, attribute.low, attribute.high)]]] : [];
  return { ...found, guesses, guess: (values) => (inferred in values ? found.of({ [attribute.key]: values[inferred] }) : null) };
}

function coloured(attribute, palette, dark, called) {
  const tone = dark ? 1 : 0;
  const other = palette.other[tone];
  const { key } = attribute;
  const word = (value) => shortened(printable(called[value] ?? value), 28);
  const graded = { strong: palette.relations["fine-tune"], likely: palette.relations.continuation, open: palette.relations.lora };
  if (attribute.values) {
    const colours = new Map();
    attribute.values.forEach((value, k) => {
      const own = key === "relation" ? palette.relations[value] : key === "grade" ? graded[value] : palette.relations[SERIES[k]];
      colours.set(value, own ? own[tone] : other);
    });
    const ours = attribute.values.filter((v) => colours.get(v) !== other);
    const rest = attribute.values.filter((v) => colours.get(v) === other);
    const entries = ours.map((v) => [word(v), colours.get(v), [`${key}:${v}`]]);
    if (rest.length) {
      entries.push([rest.length === 1 ? word(rest[0]) : `${rest.length} others`, other, rest.map((v) => `${key}:${v}`)]);
    }
    return { key, of: (values) => colours.get(values[key]) ?? null, entries };
  }
  const low = isChance(key) ? 0 : attribute.low;
  const high = isChance(key) ? 1 : attribute.high;
  const wide = high > low && low > 0 && high / low > 50;
  const place = (x) => (wide ? Math.log(x / low) / Math.log(high / low) : (x - low) / (high - low || 1));
  const says = key === "parameters" ? count : isChance(key) ? percent : figure;
  const step = (x) => Math.max(0, Math.min(STEPS - 1, Math.floor(place(x) * STEPS)));
  const from = (k) => (wide ? low * (high / low) ** (k / STEPS) : low + ((high - low) * k) / STEPS);
  return {
    key,
    of: ({ [key]: x }) => (typeof x === "number" ? RAMP[tone][step(x)] : null),
    entries: RAMP[tone].map((colour, k) => [`from ${says(from(k))}`, colour, [between(key, from(k), from(k + 1))]]),
  };
}

/** The name of an attribute for people. */
export function title(key) {
  if (key.startsWith("~")) return printable(key.slice(1));
  const words = { dtype: "number type", grade: "how sure", parameters: "size", direction_probability: "probability" }[key];
  return printable(words ?? key.replaceAll("_", " ")).replace(/^./u, (c) => c.toUpperCase());
}

/** dots: the colour is that of models, not of lines. filter: called with what an entry stands for. */
export function showLegend(scale, { hidden, undirected, inferred, support, dots, has, filter }) {
  const swatch = (colour, kind) => el("span", { class: `swatch ${kind}`, "--colour": colour, "aria-hidden": "true" });
  const line = (colour, words, kind = "") => el("li", {}, swatch(colour, kind), words);
  const choice = ([words, colour, only], kind) =>
    el("li", {}, el("button", { type: "button", class: "pick", "aria-pressed": String(only.every(has)), "aria-label": `Only ${words}`, onclick: () => filter(only) }, swatch(colour, kind), words));
  const held = part("legend").contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  part("legend").replaceChildren(
    ...scale.entries.map((entry) => choice(entry, dots ? "round" : "")),
    ...(inferred ? scale.guesses.map((entry) => choice(entry, "hatched")) : []),
    ...(hidden ? [line("var(--faint)", "hidden ancestor", "dashed")] : []),
    ...(undirected ? [el("li", {}, el("button", { type: "button", class: "pick", "aria-pressed": String(has("needs:direction")), "aria-label": "Only direction unknown", onclick: () => filter(["needs:direction"]) }, swatch("var(--soft)", "diamond"), "direction unknown"))] : []),
    ...(support ? [el("li", {}, "width and number: support in %")] : []),
  );
  if (held) [...part("legend").querySelectorAll("button")].find((b) => b.getAttribute("aria-label") === held)?.focus();
}
