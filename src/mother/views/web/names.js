/** Strings of strangers and figures, made fit to be read. */

const SHORT = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };
const ACTING = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
const BLANK = /^[\p{Zs}\u115f\u1160\u2800\u3164\uffa0]+$/u;

/** Characters that act on the text around them (controls, directions, surrogates), spelled out;
 * and all of it, where nothing would show. */
export function printable(text) {
  return String(text).replace(BLANK.test(text) ? /./gu : ACTING, (c) => {
    if (SHORT[c]) return SHORT[c];
    const code = c.codePointAt(0);
    const hex = code.toString(16);
    if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  });
}

/** Compares names in the order of the numbers in them: step-500, step-1000; as `counted` of names.py. */
export function inOrder(a, b) {
  const [one, other] = [a, b].map(parts);
  for (let k = 0; ; k += 1) {
    for (let j = 0; j < 3; j += 1) if (one[k][j] !== other[k][j]) return one[k][j] < other[k][j] ? -1 : 1;
    if (k + 1 === one.length || k + 1 === other.length) return one.length - other.length;
  }
}

/** Text, then a number by its length and its digits, and so on; the whole name last. */
function parts(name) {
  const found = [...name.matchAll(/([^0-9]*)([0-9]+)/g)].map(([, text, n]) => [text, n.replace(/^0+/, "")]);
  return [...found.map(([text, n]) => [text, n.length, n]), [name, 0, ""]];
}

/** Both ends of a long text: what tells relatives apart mostly stands last. */
export function shortened(text, most) {
  const letters = text.length > most ? Array.from(text) : [];
  if (letters.length <= most) return text;
  const tail = Math.floor((most - 1) / 2);
  return `${letters.slice(0, most - 1 - tail).join("")}…${letters.slice(letters.length - tail).join("")}`;
}

/** Three digits of a figure. */
export function figure(x) {
  if (x === null || x === undefined) return "–";
  if (typeof x !== "number") return printable(x);
  if (Number.isInteger(x) && Math.abs(x) < 1e6) return String(x);
  return String(Number(x.toPrecision(3)));
}

/** How far a model went from its parent: two digits of a share of the parent's norm. */
export function moved(x) {
  if (typeof x !== "number") return "–";
  if (x >= 1 && x < 2) return `${whole(100 * x)} %`;
  const [size, unit] = x >= 2 ? [x, "times"] : [100 * x, "%"];
  return `${two(size)} ${unit}`;
}

/** Two digits of a figure. */
export function two(x) {
  return Math.abs(x) < 0.001 || x >= 100 ? digits(x, 2) : String(rounded(x, 2));
}

/** To so many digits; of two as near, the even one, as Python rounds. */
function rounded(x, many) {
  // only what is exact in binary lies halfway between two
  if (x === 0 || !Number.isInteger(1024 * x)) return Number(x.toPrecision(many));
  const power = many - 1 - Math.floor(Math.log10(Math.abs(x)));
  return power < 0 ? whole(x / 10 ** -power) * 10 ** -power : whole(x * 10 ** power) / 10 ** power;
}

/** So many digits of a figure, as Python's format "g" has them. */
export function digits(x, many) {
  if (x === 0) return "0";
  const near = rounded(x, many);
  const [shown, power] = near.toExponential(many - 1).split("e");
  if (power >= -4 && power < many) return String(near);
  const bare = shown.includes(".") ? shown.replace(/\.?0+$/, "") : shown;
  return `${bare}e${power.replace(/^([+-])(\d)$/, "$10$2")}`;
}

/** A whole number; of two as near, the even one, as Python rounds. */
export function whole(x) {
  const low = Math.floor(x);
  return x - low === 0.5 ? low + Math.abs(low % 2) : Math.round(x);
}

/** A probability, or a share of resamplings: never 0 % or 100 %, for nothing measured is certain.
 * The same as `certainty` of verdict.py. */
export function percent(x) {
  if (typeof x !== "number") return "–";
  if (!(x < 0.995)) return "over 99 %";
  return x > 0.005 ? `${whole(100 * x)} %` : "under 1 %";
}

/** A share that is less than the whole: never 100 %. */
export function part(x) {
  return `${x < 0.1 ? two(100 * x) : Math.floor(100 * x)} %`;
}

const CHANCES = ["support", "direction_probability", "generalization"];

/** Whether what is known under that name is a probability. */
export function isChance(key) {
  return CHANCES.includes(key);
}

/** The same in the room of two digits. */
export function share(x) {
  return percent(x).replace("over ", ">").replace("under ", "<").replace(" %", "");
}

function scaled(n, units) {
  let k = 0;
  while (n >= 1000 && k < units.length - 1) {
    n /= 1000;
    k += 1;
  }
  return `${k ? n.toFixed(1) : n} ${units[k]}`.trim();
}

/** A number of weights: 86.6 M. */
export function count(n) {
  return scaled(n, ["", "k", "M", "G", "T"]);
}

/** A number of bytes, as in the terminal: 330.3 MB. */
export function bytes(n) {
  return scaled(n, ["B", "kB", "MB", "GB", "TB"]);
}

export function many(n, one, more = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : more}`;
}
