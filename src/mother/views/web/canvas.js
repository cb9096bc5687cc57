/** The forest drawn on a canvas. Lines are kept as paths of a few hundred models each, by colour
 * and width, so that a frame draws only what it shows, in a few strokes. */

import { GAP, ROW } from "./layout.js";

const CHUNK = 256;
const FONT = 'Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
const LEGIBLE = 0.5; // scale below which names are not drawn
const LEAST = 0.002;
const MOST = 6;

export class Canvas {
  constructor(element, { onpick, ontoggle, onhover }) {
    this.element = element;
    this.context = element.getContext("2d");
    this.on = { onpick, ontoggle, onhover };
    this.items = [];
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
    this.context.font = font(item);
    return this.context.measureText(words).width;
  };

  /** New places. `look` is what to draw them with: scale, theme, marks. */
  show(layout, look) {
    Object.assign(this, { items: layout.items, size: layout });
    this.recolour(look);
  }

  recolour(look) {
    this.look = look;
    this.chunks = [];
    for (let k = 0; k < this.items.length; k += CHUNK) {
      this.chunks.push(chunk(this.items.slice(k, k + CHUNK), look));
    }
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

  /** The start: as wide as the forest if that is legible, from the top. */
  home() {
    if (!this.width || !this.size) return;
    this.placed = true;
    const fits = Math.min(this.width / this.size.width, this.height / this.size.height);
    const scale = Math.max(0.75, Math.min(1.15, fits, this.width / this.size.width));
    const spare = Math.max(0, this.height - this.size.height * scale);
    this.#to(d3.zoomIdentity.translate(0, Math.min(spare / 2, 24)).scale(scale));
  }

  /** All of it. */
  fit() {
    const scale = Math.min(1.5, this.width / this.size.width, this.height / this.size.height);
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
    const top = (0 - view.y) / view.k;
    const bottom = (this.height - view.y) / view.k;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, this.width, this.height);
    c.setTransform(ratio * view.k, 0, 0, ratio * view.k, ratio * view.x, ratio * view.y);
    c.lineCap = "butt";
    for (const part of this.chunks) {
      if (part.bottom >= top && part.top <= bottom) lines(c, part, view.k);
    }
    this.#highlight(c, look);
    for (const part of this.chunks) {
      if (part.bottom >= top && part.top <= bottom) dots(c, part, look, view.k);
    }
    this.#marks(c, look, view.k);
    if (view.k >= LEGIBLE) {
      for (const item of this.#between(top - ROW, bottom + ROW)) words(c, item, look, view.k);
    }
  }

  /** The path of the chosen model, over the other lines. */
  #highlight(c, look) {
    for (const [item, colour] of look.paths) {
      c.strokeStyle = colour;
      c.lineWidth = Math.max(3.5, 2 / this.view.k);
      for (let at = item; at?.parent; at = at.parent) {
        if (at.x === undefined || !at.parent.open) continue;
        const path = new Path2D();
        trunk(path, at);
        branch(path, at);
        c.stroke(path);
      }
    }
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

  #between(top, bottom) {
    let [low, high] = [0, this.items.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.items[middle].y < top) low = middle + 1;
      else high = middle;
    }
    let end = low;
    while (end < this.items.length && this.items[end].y <= bottom) end += 1;
    return this.items.slice(low, end);
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

function font(item, size = 13) {
  const style = item.entry.hidden ? "italic " : "";
  return `${style}${item.parent || item.entry.hidden ? 400 : 600} ${size}px ${FONT}`;
}

function trunk(path, item) {
  const { parent } = item;
  path.moveTo(parent.x + 12 + parent.width + 4, parent.y);
  path.lineTo(item.x - GAP + 12, parent.y);
}

function branch(path, item) {
  const [from, to] = [item.x - GAP + 12, item.x - 36];
  const middle = (from + to) / 2;
  path.moveTo(from, item.parent.y);
  path.bezierCurveTo(middle, item.parent.y, middle, item.y, to, item.y);
  path.lineTo(item.x - 7, item.y);
}

function chunk(items, look) {
  const out = { items, strokes: new Map(), fills: new Map(), top: Infinity, bottom: -Infinity };
  out.hollow = new Path2D();
  out.diamonds = new Path2D();
  out.hasHollow = false;
  for (const item of items) {
    const { entry, parent } = item;
    item.colour = look.scale.of(entry.values);
    out.top = Math.min(out.top, item.y - ROW, parent?.y ?? Infinity);
    out.bottom = Math.max(out.bottom, item.y + ROW, parent?.y ?? -Infinity);
    if (parent) {
      const edge = entry.edge;
      const support = Math.round(5 * Math.max(0, Math.min(1, edge?.support ?? 1))) / 5;
      const onEdge = edge && look.scale.key in edge ? item.colour : null;
      branch(stroke(out, onEdge ?? look.theme.faint, 0.6 + 1.5 * support, !edge), item);
      if (parent.kids[0] === item) trunk(stroke(out, look.theme.faint, 1, parent.entry.hidden), item);
      if (edge?.undirected) diamond(out.diamonds, item);
    }
    if (entry.hidden) {
      out.hasHollow = true;
      circle(out.hollow, item);
    } else {
      const colour = item.colour ?? look.theme.faint;
      if (!out.fills.has(colour)) out.fills.set(colour, new Path2D());
      circle(out.fills.get(colour), item);
    }
  }
  return out;
}

function stroke(out, colour, width, dashed) {
  const key = `${colour} ${width} ${dashed}`;
  if (!out.strokes.has(key)) out.strokes.set(key, { colour, width, dashed, path: new Path2D() });
  return out.strokes.get(key).path;
}

function circle(path, { x, y }) {
  path.moveTo(x + 4.5, y);
  path.arc(x, y, 4.5, 0, 7);
}

function diamond(path, { x, y }) {
  path.moveTo(x - 19, y);
  path.lineTo(x - 14, y - 5);
  path.lineTo(x - 9, y);
  path.lineTo(x - 14, y + 5);
  path.closePath();
}

function lines(c, part, k) {
  for (const { colour, width, dashed, path } of part.strokes.values()) {
    c.strokeStyle = colour;
    c.lineWidth = Math.max(width, 0.5 / k);
    c.setLineDash(dashed && k > 0.2 ? [3, 3] : []);
    c.stroke(path);
  }
  c.setLineDash([]);
}

function dots(c, part, look, k) {
  if (k < 0.08) return;
  for (const [colour, path] of part.fills) {
    c.fillStyle = colour;
    c.fill(path);
  }
  c.fillStyle = look.theme.surface;
  c.fill(part.diamonds);
  c.lineWidth = 1.2;
  c.strokeStyle = look.theme.soft;
  c.stroke(part.diamonds);
  if (!part.hasHollow) return;
  c.fill(part.hollow);
  c.setLineDash(k > 0.2 ? [2, 2] : []);
  c.stroke(part.hollow);
  c.setLineDash([]);
}

function words(c, item, look, k) {
  const { theme, dimmed } = look;
  c.globalAlpha = dimmed?.(item) ? 0.35 : 1;
  const x = item.x + 12;
  const { edge } = item.entry;
  c.textBaseline = "middle";
  if (edge && typeof edge.support === "number" && k > 0.7) {
    c.font = font(item, 9.5);
    c.textAlign = "center";
    c.fillStyle = theme.soft;
    c.fillText(Math.round(100 * edge.support), item.x - 23, item.y - 7);
  }
  c.textAlign = "left";
  c.font = font(item);
  if (look.found?.(item)) {
    c.fillStyle = theme.mark;
    c.beginPath();
    c.roundRect(x - 4, item.y - 10, item.text + 8, 20, 4);
    c.fill();
  }
  c.fillStyle = item.entry.hidden ? theme.soft : theme.ink;
  c.fillText(item.label, x, item.y);
  if (item.entry.children) pill(c, item, theme, x + item.text + 8);
  c.globalAlpha = 1;
}

function pill(c, item, theme, x) {
  const width = item.open ? 18 : item.badge;
  c.fillStyle = theme.raised;
  c.strokeStyle = theme.line;
  c.lineWidth = 1;
  c.beginPath();
  c.roundRect(x, item.y - 8, width, 16, 8);
  c.fill();
  c.stroke();
  c.fillStyle = theme.soft;
  c.font = font({ entry: {}, parent: true }, 11);
  c.textAlign = "center";
  c.fillText(item.open ? "–" : `+ ${item.entry.below}`, x + width / 2, item.y + 0.5);
  c.textAlign = "left";
}
