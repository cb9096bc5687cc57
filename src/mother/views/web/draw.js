/** What is drawn of a part of the forest, and how. */

import { ROW } from "./layout.js";
import { share } from "./names.js";

const FONT = 'Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
const FADED = 0.2; // what a search or a filter leaves out
export const LEGIBLE = 0.5; // scale below which names are not drawn

export function font(item, size = 13) {
  const style = item.entry.hidden ? "italic " : "";
  return `${style}${item.parent || item.entry.hidden ? 400 : 600} ${size}px ${FONT}`;
}

function trunk(path, item) {
  const { parent } = item;
  path.moveTo(parent.x + 12 + parent.width + 4, parent.y);
  path.lineTo(item.bend, parent.y);
}

function branch(path, item) {
  path.moveTo(item.bend, item.parent.y);
  bend(path, item);
}

function bend(path, item) {
  const [from, to] = [item.bend, item.bend + 28];
  const middle = (from + to) / 2;
  path.bezierCurveTo(middle, item.parent.y, middle, item.y, to, item.y);
  path.lineTo(item.x - 7, item.y);
}

/** trunk and branch in one, so that a band over both has no seam. */
export function way(path, item) {
  const { parent } = item;
  path.moveTo(parent.x + 12 + parent.width + 4, parent.y);
  path.lineTo(item.bend, parent.y);
  bend(path, item);
}

/** Where the lines and dots of some models lie. */
export function bounds(items) {
  const out = { items, drawn: null, top: Infinity, bottom: -Infinity, left: Infinity, right: -Infinity };
  for (const { x, y, parent } of items) {
    out.top = Math.min(out.top, y - ROW, parent?.y ?? Infinity);
    out.bottom = Math.max(out.bottom, y + ROW, parent?.y ?? -Infinity);
    out.left = Math.min(out.left, x - ROW, parent?.x ?? Infinity);
    out.right = Math.max(out.right, x + ROW);
  }
  return out;
}

/** The colour of a model, null where it has none, and whether that is what is inferred of it. */
export function tint({ values }, look) {
  const colour = look.scale.of(values);
  const guess = colour === null && look.inferred ? look.scale.guess(values) : null;
  return { colour: colour ?? guess, inferred: guess !== null };
}

/** What is drawn of them, by colour and width. */
export function chunk(items, look) {
  const out = { strokes: new Map(), fills: new Map(), hatched: new Map(), hasHollow: false };
  out.hollow = new Path2D();
  out.diamonds = new Path2D();
  out.spines = new Path2D(); // in the place of names that are too small to read
  for (const item of items) {
    const { entry, parent } = item;
    const own = tint(entry, look);
    if (parent) {
      const edge = entry.edge;
      const support = Math.round(5 * Math.max(0, Math.min(1, edge?.support ?? 1))) / 5;
      const onEdge = edge && (look.scale.key in edge || look.scale.key === "grade") ? own.colour : null;
      const faded = Boolean(look.dimmed?.(item));
      branch(stroke(out, onEdge ?? look.theme.faint, 0.6 + 1.5 * support, !edge, faded), item);
      if (parent.kids[0] === item) {
        trunk(stroke(out, look.theme.faint, 1, parent.entry.hidden, Boolean(look.dimmed)), item);
        out.spines.moveTo(parent.x + 7, parent.y);
        out.spines.lineTo(parent.x + 12 + parent.width + 4, parent.y);
      }
      if (edge?.undirected) diamond(out.diamonds, item);
    }
    if (entry.hidden) {
      out.hasHollow = true;
      circle(out.hollow, item);
    } else {
      const key = `${own.colour ?? look.theme.faint} ${look.dimmed?.(item) ? FADED : 1}`;
      const fills = own.inferred ? out.hatched : out.fills;
      if (!fills.has(key)) fills.set(key, new Path2D());
      circle(fills.get(key), item);
    }
  }
  return out;
}

function stroke(out, colour, width, dashed, faded) {
  const key = `${colour} ${width} ${dashed} ${faded}`;
  if (!out.strokes.has(key)) out.strokes.set(key, { colour, width, dashed, alpha: faded ? FADED : 1, path: new Path2D() });
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

export function lines(c, part, k, faint) {
  for (const { colour, width, dashed, alpha, path } of part.strokes.values()) {
    c.globalAlpha = alpha;
    c.strokeStyle = colour;
    c.lineWidth = Math.max(width, 0.5 / k);
    c.setLineDash(dashed && k > 0.2 ? [3, 3] : []);
    c.stroke(path);
  }
  c.setLineDash([]);
  c.globalAlpha = 1;
  if (k >= LEGIBLE) return;
  c.strokeStyle = faint;
  c.lineWidth = Math.max(1, 0.5 / k);
  c.stroke(part.spines);
}

export function dots(c, part, look, k) {
  if (k < 0.08) return;
  for (const [key, path] of part.fills) {
    const [colour, alpha] = key.split(" ");
    c.globalAlpha = Number(alpha);
    c.fillStyle = colour;
    c.fill(path);
  }
  for (const [key, path] of part.hatched) {
    const [colour, alpha] = key.split(" ");
    c.globalAlpha = Number(alpha);
    c.fillStyle = hatch(c, colour, look.theme.surface);
    c.fill(path);
    c.strokeStyle = colour;
    c.lineWidth = 1;
    c.stroke(path);
  }
  c.globalAlpha = 1;
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

/** Lines of a colour, for what is inferred. */
function hatch(c, colour, ground) {
  const tile = Object.assign(document.createElement("canvas"), { width: 4, height: 4 });
  const pen = tile.getContext("2d");
  pen.fillStyle = ground;
  pen.fillRect(0, 0, 4, 4);
  pen.strokeStyle = colour;
  pen.lineWidth = 1.4;
  for (const x of [-4, 0, 4]) {
    pen.moveTo(x, 4);
    pen.lineTo(x + 4, 0);
  }
  pen.stroke();
  return c.createPattern(tile, "repeat");
}

export function words(c, item, look, k) {
  const { theme, dimmed } = look;
  c.globalAlpha = dimmed?.(item) ? 0.3 : 1;
  const x = item.x + 12;
  const { edge } = item.entry;
  c.textBaseline = "middle";
  if (edge && typeof edge.support === "number" && k > 0.7) {
    c.font = font(item, 9.5);
    c.textAlign = "center";
    c.fillStyle = theme.soft;
    c.fillText(share(edge.support), item.x - 23, item.y - 7);
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
