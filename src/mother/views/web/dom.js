/** The one way in which elements are made: text is only ever set as text. */

/** An element. `class`, `on…` and ARIA go by their names; everything else given is a child. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

export function button(words, action, attributes = {}) {
  return el("button", { type: "button", onclick: action, ...attributes }, breakable(words));
}

/** A name that may break after its separators. */
export function breakable(words) {
  return words.split(/(?<=[/_.:-])/).flatMap((piece, k) => (k ? [el("wbr"), piece] : [piece]));
}

/** The element of page.html with that id. */
export function part(id) {
  return document.getElementById(id);
}

/** Something went wrong, said where everybody sees and hears it; "" when it is over. */
export function alarm(words) {
  part("told").textContent = words;
  part("told").hidden = !words;
}

/** Say it to a screen reader. */
export function announce(words) {
  part("said").textContent = words;
}
