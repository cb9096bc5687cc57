/** The forest drawn on a canvas. Lines are kept as paths of a few hundred models each, by colour
 * and width, from when they are first in view, so that a frame draws only what it shows, in a few
 * strokes. */

import { bounds, chunk, dots, font, LEGIBLE, lines, way, words } from "./draw.js";
import { ROW } from "./layout.js";
import { shortened } from "./names.js";

const CHUNK = 256;
const NAMES = 400; // that are drawn of a forest too small to read, at most
const LEAST = 0.002;
const MOST = 6;

export class Canvas {
  constructor(element, { onpick, ontoggle, onhover }) {
    this.element = element;
    this.context = element.getContext("2d");
    this.ruler = document.createElement("canvas").getContext("2d");
    this.on = { onpick, ontoggle, onhover };
    this.items = [];
    this.byHeight = [];
    this.chunks = [];
    this.view = d3.zoomIdentity;
    this.zoom = d3
      .zoom()
      .scaleExtent([LEAST, MOST])
      .on("zoom", (event) => {
        this.view = event.transform;
        this.draw();
      });
    this.selection = d3.select(element).call(this.zoom).on("dblclick.zoom", null);
    element.addEventListener("click", (event) => this.#click(event));
    element.addEventListener("mousemove", (event) => this.#hover(event));
    new ResizeObserver(() => this.resize()).observe(element);
  }

  measure = (words, item) => {
    const wanted = font(item);
    if (this.measured !== wanted) this.ruler.font = this.measured = wanted; // which is slow to set
    return this.ruler.measureText(words).width;
  };

  /** New places. `look` is what to draw them with: scale, theme, marks. */
  show(layout, look) {
    Object.assign(this, { items: layout.items, size: layout });
    this.byHeight = [...layout.items].sort((a, b) => a.y - b.y);
    this.byWeight = null;
    this.chunks = [];
    for (let k = 0; k < this.items.length; k += CHUNK) this.chunks.push(bounds(this.items.slice(k, k + CHUNK)));
    if (this.placed && !this.sees()) this.home();
    this.recolour(look);
  }

  /** Whether any model is in view. */
  sees() {
    if (!this.width || !this.items.length) return true;
    const [left, top] = this.view.invert([0, 0]);
    const [right, bottom] = this.view.invert([this.width, this.height]);
    return this.#between(top, bottom).some((item) => item.x + 12 + item.width >= left && item.x <= right);
  }

  get aspect() {
    return this.width ? this.width / this.height : 1;
  }

  /** Keep in place what moved from there to here in a new layout. */
  follow([x, y], item) {
    this.#to(this.view.translate(x - item.x, y - item.y));
  }

  recolour(look) {
    this.look = look;
    for (const part of this.chunks) part.drawn = null;
    this.draw();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    Object.assign(this, { width, height, ratio });
    this.element.width = Math.round(width * ratio);
    this.element.height = Math.round(height * ratio);
    this.zoom.extent([[0, 0], [width, height]]);
    if (!this.placed && this.size) this.home();
    this.paint();
  }

  /** The start: as wide as the forest if that is legible, from the top, the first root in view. */
  home() {
    if (!this.width || !this.size) return;
    this.placed = true;
    const fits = Math.min(this.width / this.size.width, this.height / this.size.height);
    const scale = Math.max(0.95, Math.min(1.15, fits));
    const spare = Math.max(0, this.height - this.size.height * scale);
    const deep = this.items.length ? Math.max(0, this.items[0].y * scale - this.height / 2) : 0;
    this.#to(d3.zoomIdentity.translate(0, Math.min(spare / 2, 24) - deep).scale(scale));
  }

  /** All of it. */
  fit() {
    const least = Math.min(this.width / this.size.width, this.height / this.size.height);
    const scale = Math.max(LEAST, Math.min(1.5, least));
    const x = (this.width - this.size.width * scale) / 2;
    const y = (this.height - this.size.height * scale) / 2;
    this.#to(d3.zoomIdentity.translate(Math.max(0, x), Math.max(0, y)).scale(scale));
  }

  by(factor) {
    this.zoom.scaleBy(this.selection, factor);
  }

  /** Bring an item into view, legibly, moving no more than needed. */
  bring(item) {
    if (!this.width) return;
    const k = Math.max(this.view.k, LEGIBLE + 0.2);
    let { x, y } = this.view;
    if (k !== this.view.k) [x, y] = [this.width / 3 - item.x * k, this.height / 2 - item.y * k];
    const edge = Math.min(60, this.height / 4);
    const [at, down] = [item.x * k + x, item.y * k + y];
    const right = this.width - Math.min(item.width * k + 40, this.width - 20);
    if (at < 20) x += 20 - at;
    else if (at > right) x += right - at;
    if (down < edge) y += edge - down;
    else if (down > this.height - edge) y += this.height - edge - down;
    this.#to(d3.zoomIdentity.translate(x, y).scale(k));
  }

  #to(view) {
    this.zoom.transform(this.selection, view);
  }

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => this.paint());
  }

  paint() {
    cancelAnimationFrame(this.waiting);
    this.waiting = 0;
    if (!this.width || !this.look) return;
    const { context: c, look, view, ratio } = this;
    const [left, top] = view.invert([0, 0]);
    const [right, bottom] = view.invert([this.width, this.height]);
    const parts = this.chunks
      .filter((p) => p.bottom >= top && p.top <= bottom && p.right >= left && p.left <= right)
      .map((p) => (p.drawn ??= chunk(p.items, look)));
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, this.width, this.height);
    c.setTransform(ratio * view.k, 0, 0, ratio * view.k, ratio * view.x, ratio * view.y);
    this.#highlight(c, look);
    for (const part of parts) lines(c, part, view.k, look.theme.faint);
    for (const part of parts) dots(c, part, look, view.k);
    this.#marks(c, look, view.k);
    if (view.k >= LEGIBLE) {
      for (const item of this.#between(top - ROW, bottom + ROW)) {
        if (item.x <= right && item.x + item.width + 40 >= left) words(c, item, look, view.k);
      }
    } else this.#roots(c, look);
  }

  /** The path of the chosen model, a band under the lines. */
  #highlight(c, look) {
    c.globalAlpha = 0.3;
    c.lineJoin = "round";
    c.lineWidth = Math.max(9, 5 / this.view.k);
    for (const [item, colour] of look.paths) {
      const path = new Path2D();
      for (let at = item; at?.parent; at = at.parent) {
        if (at.shown) way(path, at);
      }
      c.strokeStyle = colour;
      c.stroke(path);
    }
    c.globalAlpha = 1;
  }

  #marks(c, look, k) {
    const size = Math.max(1, 0.6 / k);
    c.lineWidth = 2 * size;
    for (const [item, colour] of look.rings) {
      if (item.x === undefined || !item.shown) continue;
      c.strokeStyle = colour;
      c.beginPath();
      c.arc(item.x, item.y, 8 * size, 0, 7);
      c.stroke();
    }
  }

  /** Names in letters that stay legible, of roots and large branches first, where there is room. */
  #roots(c, look) {
    const { view, ratio } = this;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.textBaseline = "middle";
    c.textAlign = "left";
    c.lineWidth = 4;
    c.lineJoin = "round";
    c.strokeStyle = look.theme.surface;
    c.fillStyle = look.theme.ink;
    this.byWeight ??= [...this.items].sort((a, b) => Boolean(a.parent) - Boolean(b.parent) || b.entry.below - a.entry.below);
    const taken = new Set();
    let drawn = 0;
    for (const item of this.byWeight) {
      const [x, y] = view.apply([item.x, item.y]);
      if (x < -20 || x > this.width - 30 || y < 8 || y > this.height - 8 || look.dimmed?.(item)) continue;
      c.font = font(item, 11);
      const name = shortened(item.label, Math.round(14 + 100 * view.k));
      const row = Math.floor(y / 15);
      const columns = [];
      for (let at = Math.floor(x / 20); at <= Math.floor((x + 8 + 6 * name.length) / 20); at += 1) columns.push(at);
      if (columns.some((at) => [-1, 0, 1].some((by) => taken.has(`${row + by} ${at}`)))) continue;
      for (const at of columns) taken.add(`${row} ${at}`);
      c.strokeText(name, x + 8, y);
      c.fillText(name, x + 8, y);
      drawn += 1;
      if (drawn === NAMES) return;
    }
  }

  #between(top, bottom) {
    let [low, high] = [0, this.byHeight.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.byHeight[middle].y < top) low = middle + 1;
      else high = middle;
    }
    let end = low;
    while (end < this.byHeight.length && this.byHeight[end].y <= bottom) end += 1;
    return this.byHeight.slice(low, end);
  }

  #hit(event) {
    const box = this.element.getBoundingClientRect();
    const [x, y] = this.view.invert([event.clientX - box.left, event.clientY - box.top]);
    const near = Math.max(ROW / 2, 8 / this.view.k);
    let best = null;
    for (const item of this.#between(y - near, y + near)) {
      const inside = x >= item.x - near && x <= item.x + 16 + (this.view.k >= LEGIBLE ? item.width : 0);
      if (inside && (!best || Math.abs(item.y - y) < Math.abs(best.y - y))) best = item;
    }
    const toggle = best && best.entry.children && x > best.x + 12 + best.text + 4;
    return best && { item: best, toggle };
  }

  #click(event) {
    const hit = this.#hit(event);
    if (hit?.toggle) this.on.ontoggle(hit.item);
    else this.on.onpick(hit?.item ?? null, event);
  }

  #hover(event) {
    const hit = event.buttons ? null : this.#hit(event);
    this.element.style.cursor = hit ? "pointer" : "grab";
    this.on.onhover(hit?.item ?? null);
  }
}
