/** The same forest as lines of text. It is what a screen reader and the keyboard walk through in
 * both views; only the lines around the current one exist at a time. */

import { el } from "./dom.js";
import { tint } from "./draw.js";
import { percent, printable } from "./names.js";

const AROUND = 12; // lines kept beyond the edges of the view

export class List {
  constructor(element, { onpick, ontoggle }) {
    this.element = element;
    this.lines = [];
    this.places = new Map();
    this.on = { onpick, ontoggle };
    this.inner = el("div", { class: "lines", role: "presentation" });
    element.append(this.inner);
    element.addEventListener("scroll", () => this.render(), { passive: true });
    element.addEventListener("click", (event) => this.#click(event));
    new ResizeObserver(() => {
      this.height = 0; // lines are higher where fingers point at them
      this.render();
    }).observe(element);
  }

  show(lines, look) {
    this.lines = lines;
    this.places = new Map(lines.map((item, k) => [item, k]));
    this.look = look;
    this.render();
  }

  recolour(look) {
    this.look = look;
    this.render();
  }

  get pitch() {
    this.height ||= parseFloat(getComputedStyle(this.element).getPropertyValue("--pitch")) || 30;
    return this.height;
  }

  bring(item) {
    const pitch = this.pitch;
    const top = (this.places.get(item) ?? 0) * pitch;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop + pitch) this.element.scrollTop = top - pitch;
    else if (top > scrollTop + clientHeight - 2 * pitch) {
      this.element.scrollTop = top - clientHeight + 2 * pitch;
    }
    this.render();
  }

  /** Write the lines in view and the current one; all of them for print. */
  render(all = false) {
    if (!this.look) return;
    const pitch = this.pitch;
    const { scrollTop, clientHeight } = this.element;
    const first = all ? 0 : Math.max(0, Math.floor(scrollTop / pitch) - AROUND);
    const last = all ? this.lines.length : Math.ceil((scrollTop + clientHeight) / pitch) + AROUND;
    const shown = this.lines.slice(first, last);
    const { active } = this.look;
    if (active && this.places.has(active) && !shown.includes(active)) {
      const at = this.places.get(active);
      shown.push(...this.lines.slice(Math.max(0, at - 1), at + 2).filter((x) => !shown.includes(x)));
    }
    this.inner.style.height = all ? "auto" : `${this.lines.length * pitch}px`;
    this.inner.replaceChildren(...shown.map((item) => this.#line(item, pitch, all)));
    if (active && this.places.has(active)) {
      this.element.setAttribute("aria-activedescendant", `line-${active.entry.key}`);
    } else this.element.removeAttribute("aria-activedescendant");
  }

  #line(item, pitch, all) {
    const { entry, parent, depth } = item;
    const { look } = this;
    const siblings = parent?.shown ? parent.kids : look.roots;
    const edge = entry.edge;
    const own = tint(entry, look);
    const under = parent?.entry.hidden && !edge ? "from a hidden ancestor" : "";
    const sure = edge?.undirected ? "direction unknown" : "";
    const chosen = item === look.selected || item === look.other;
    const states = [item === look.active && "active", chosen && "chosen", look.found?.(item) && "found", look.dimmed?.(item) && "dim", entry.hidden && "hidden-one"];
    const line = el(
      "div",
      {
        id: `line-${entry.key}`,
        class: ["line", ...states].filter(Boolean).join(" "),
        role: "treeitem",
        "aria-level": depth + 1,
        "aria-setsize": siblings.length,
        "aria-posinset": item.place,
        "aria-expanded": entry.children ? String(item.open) : null,
        "aria-selected": String(chosen),
        "data-key": entry.key,
        "--depth": Math.min(depth, 12),
        "--top": all ? null : `${this.places.get(item) * pitch}px`,
      },
      el("span", { class: "twisty", "aria-hidden": "true" }, entry.children ? (item.open ? "▾" : "▸") : ""),
      el("span", { class: own.inferred ? "dot hatched" : "dot", "--colour": own.colour ?? "var(--faint)", "aria-hidden": "true" }),
      el("span", { class: "name" }, printable(entry.name)),
      el("span", { class: "gap" }, entry.children && !item.open ? `+ ${entry.below}` : ""),
      el("span", { class: "relation" }, [entry.values.grade, printable(edge?.relation ?? under), sure].filter(Boolean).join(" · ")),
      el("span", { class: "support" }, typeof edge?.support === "number" ? `${percent(edge.support)}` : "",
        typeof edge?.support === "number" ? el("span", { class: "unseen" }, " support") : ""),
    );
    return line;
  }

  #click(event) {
    const line = event.target.closest(".line");
    if (!line) return;
    const item = this.lines.find((x) => String(x.entry.key) === line.dataset.key);
    if (event.target.closest(".twisty, .gap") && item.entry.children) this.on.ontoggle(item);
    else this.on.onpick(item, event);
  }
}
