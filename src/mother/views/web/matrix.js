/** How far the models of a family are from each other, as a heat map, their tree beside it.
 *
 * Along the recovered tree: steps are about at right angles to each other, so that the distance of
 * two models is the root of the sum of the squared steps between them. */

import { button, el } from "./dom.js";
import { many, moved, printable, shortened } from "./names.js";
import { copy, csv } from "./save.js";

const MOST = 400; // models of a family that are drawn
const CELLS = [11, 28]; // pixels of a cell, at least and at most
const ACROSS = 640; // pixels of the map, about
const NAMED = 170; // pixels of a name
const [STEP, TREE] = [12, 240]; // pixels of a level of the tree, and of all of them at most

/** Squared distances by place, (n, n), of entries in the order of the forest; null where a step
 * between the two is not known. */
export function squares(entries) {
  const place = new Map(entries.map((entry, k) => [entry.key, k]));
  const out = entries.map(() => new Float64Array(entries.length).fill(NaN));
  entries.forEach((entry, k) => {
    out[k][k] = 0;
    const up = place.get(entry.parent);
    if (up === undefined) return;
    const step = (entry.edge?.distance ?? (entry.edge?.relation === "duplicate" ? 0 : NaN)) ** 2;
    for (let j = 0; j < k; j += 1) out[k][j] = out[j][k] = out[up][j] + step;
  });
  return out;
}

export class Matrix {
  constructor(element, { onpick }) {
    this.element = element;
    this.on = { onpick };
    this.canvas = el("canvas", { role: "img", tabindex: "-1" });
    this.said = el("p", { class: "readout", "aria-hidden": "true" });
    this.about = el("p", { class: "about" });
    element.append(this.about, this.said, el("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": "Heat map of distances" }, this.canvas));
    this.canvas.addEventListener("mousemove", (event) => this.#hover(event));
    this.canvas.addEventListener("click", (event) => this.#click(event));
  }

  /** entries: of one family, in the order of the forest. */
  show(entries, look) {
    this.entries = entries.slice(0, MOST);
    this.look = look;
    this.squares = squares(this.entries);
    const depth = new Map();
    for (const { key, parent } of this.entries) depth.set(key, (depth.get(parent) ?? -1) + 1);
    this.depth = depth;
    this.cell = Math.round(Math.max(CELLS[0], Math.min(CELLS[1], ACROSS / Math.max(1, this.entries.length))));
    const levels = Math.max(0, ...depth.values()) + 2;
    this.step = Math.min(STEP, TREE / levels);
    this.left = NAMED + this.step * levels;
    this.about.replaceChildren(
      `${this.#told(entries.length - this.entries.length)} `,
      button("Copy as CSV", () => copy(this.text(), "Distances copied"), { id: "copy-distances" }),
    );
    this.canvas.setAttribute("aria-label", `Distances of ${many(this.entries.length, "model")}; as text by Copy as CSV`);
    this.paint();
  }

  #told(left) {
    const { length } = this.entries.filter(({ hidden }) => !hidden);
    if (length < 2) return "No family: what stands alone has no distance to anything. Choose a model that has relatives.";
    const drawn = `${many(length, "model")} of one family${left ? `, ${left.toLocaleString("en")} more are not drawn` : ""}`;
    const known = this.squares.some((row, k) => row.some((x, j) => j !== k && !Number.isNaN(x)));
    return known ? `${drawn}: the distance along the tree, as a share of the root's norm.` : `${drawn}: no distance between any two is known, for their ancestor is not among the inputs.`;
  }

  text() {
    const names = this.entries.map(({ id }) => id);
    return csv([["", ...names], ...names.map((name, k) => [name, ...Array.from(this.squares[k], (x) => (Number.isNaN(x) ? "" : Math.sqrt(x)))])]);
  }

  paint() {
    const { entries, look, left } = this;
    const size = entries.length * this.cell;
    const ratio = window.devicePixelRatio || 1;
    Object.assign(this.canvas, { width: (left + size) * ratio, height: size * ratio });
    this.canvas.style.setProperty("--wide", `${left + size}px`);
    this.canvas.style.setProperty("--high", `${size}px`);
    const c = this.canvas.getContext("2d");
    c.scale(ratio, ratio);
    c.textBaseline = "middle";
    c.font = `${Math.min(11, this.cell - 2)}px system-ui, sans-serif`;
    const place = new Map(entries.map((entry, k) => [entry.key, k]));
    const most = Math.sqrt(this.squares.reduce((top, row) => row.reduce((a, x) => (x > a ? x : a), top), 0)) || 1;
    entries.forEach((entry, k) => {
      const [x, y] = [6 + this.step * this.depth.get(entry.key), (k + 0.5) * this.cell];
      const up = place.get(entry.parent);
      c.strokeStyle = look.theme.faint;
      c.setLineDash(entry.edge ? [] : [2, 2]);
      if (up !== undefined) {
        c.beginPath();
        c.moveTo(x - this.step, (up + 0.5) * this.cell);
        c.lineTo(x - this.step, y);
        c.lineTo(left - NAMED - 6, y);
        c.stroke();
      }
      c.fillStyle = look.scale.of(entry.values) ?? look.theme.faint;
      c.fillRect(x - 3, y - 3, 6, 6);
      c.fillStyle = entry.hidden ? look.theme.soft : look.theme.ink;
      c.fillText(shortened(printable(entry.name), 26), left - NAMED, y, NAMED - 6);
      this.squares[k].forEach((square, j) => {
        if (Number.isNaN(square)) return;
        c.globalAlpha = 0.08 + (0.92 * Math.sqrt(square)) / most;
        c.fillStyle = look.theme.accent;
        c.fillRect(left + j * this.cell, k * this.cell, this.cell - 1, this.cell - 1);
        c.globalAlpha = 1;
      });
    });
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    const [row, column] = [Math.floor((event.clientY - box.top) / this.cell), Math.floor((event.clientX - box.left - this.left) / this.cell)];
    return [this.entries[row], this.entries[column], this.squares[row]?.[column]];
  }

  #hover(event) {
    const [one, two, square] = this.#at(event);
    const name = (entry) => printable(entry.name);
    this.said.textContent = one && two ? `${name(one)} to ${name(two)}: ${Number.isNaN(square) ? "a step between them is not known" : moved(Math.sqrt(square))}` : one ? name(one) : "";
  }

  #click(event) {
    const [one, two] = this.#at(event);
    if (one) this.on.onpick(one.key, {});
    if (one && two && one !== two) this.on.onpick(two.key, { shiftKey: true });
  }
}
