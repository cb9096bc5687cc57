/** What is seen, as files, and as text to paste. */

import { font, tint } from "./draw.js";
import { alarm, announce } from "./dom.js";
import { share } from "./names.js";

/** Hand a file to the reader. */
export function download(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export async function copy(text, words) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // no clipboard where a page comes by plain HTTP
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    if (!copied) return void alarm("The browser lets nothing be copied here");
  }
  announce(words);
}

/** Rows as CSV: nothing in a cell starts a formula. */
export function csv(rows) {
  const cell = (value) => {
    const text = String(value ?? "").replace(/^\s*[=+\-@'＝＋－＠]/u, (start) => (typeof value === "number" ? start : `'${start}`));
    return /[",;\r\n\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

/** The part of the forest that the canvas shows, as SVG. */
export function svg(canvas, look) {
  const { view, width, height } = canvas;
  const { theme } = look;
  const [left, top] = view.invert([0, 0]);
  const [right, bottom] = view.invert([width, height]);
  const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.codePointAt(0)};`).replace(/[^\t\n\r -\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "\ufffd");
  const parts = [];
  for (const item of canvas.items) {
    const { entry, parent } = item;
    if (Math.max(item.y, parent?.y ?? item.y) < top || Math.min(item.y, parent?.y ?? item.y) > bottom) continue;
    if (item.x + item.width < left || (parent?.x ?? item.x) > right) continue;
    const faded = look.dimmed?.(item) ? ' opacity="0.2"' : "";
    const colour = tint(entry, look).colour ?? theme.faint;
    if (parent) {
      const edge = entry.edge;
      const wide = 0.6 + 1.5 * Math.max(0, Math.min(1, edge?.support ?? 1));
      const middle = item.bend + 14;
      parts.push(
        `<path d="M${parent.x + 16 + parent.width} ${parent.y}H${item.bend}C${middle} ${parent.y} ${middle} ${item.y} ${item.bend + 28} ${item.y}H${item.x - 7}" fill="none" stroke="${edge ? colour : theme.faint}" stroke-width="${wide}"${edge ? "" : ' stroke-dasharray="3 3"'}${faded}/>`,
      );
      if (edge?.undirected) parts.push(`<path d="M${item.x - 19} ${item.y}l5 -5l5 5l-5 5z" fill="${theme.surface}" stroke="${theme.soft}"${faded}/>`);
      if (typeof edge?.support === "number") parts.push(`<text x="${item.x - 23}" y="${item.y - 4}" font-size="9.5" text-anchor="middle" fill="${theme.soft}"${faded}>${escaped(share(edge.support))}</text>`);
    }
    parts.push(`<circle cx="${item.x}" cy="${item.y}" r="4.5" fill="${entry.hidden ? theme.surface : colour}" stroke="${colour}"${faded}/>`);
    parts.push(`<text x="${item.x + 12}" y="${item.y + 4.5}" style="font:${escaped(font(item))}" fill="${entry.hidden ? theme.soft : theme.ink}"${faded}>${escaped(item.label)}</text>`);
  }
  const { x, y, k } = view;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    `<rect width="100%" height="100%" fill="${theme.surface}"/>`,
    `<g transform="translate(${x} ${y}) scale(${k})">`,
    ...parts,
    "</g>",
    "</svg>\n",
  ].join("\n");
}

/** The same in pixels. */
export function png(canvas, look, name) {
  const whole = document.createElement("canvas");
  Object.assign(whole, { width: canvas.element.width, height: canvas.element.height });
  const c = whole.getContext("2d");
  c.fillStyle = look.theme.surface;
  c.fillRect(0, 0, whole.width, whole.height);
  c.drawImage(canvas.element, 0, 0);
  whole.toBlob((blob) => download(name, blob, "image/png"));
}
