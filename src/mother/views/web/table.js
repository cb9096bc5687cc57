/** The models as a table: sorted, filtered, to copy. Only the lines in view exist. */

import { button, el } from "./dom.js";
import { tint } from "./draw.js";
import { count, inOrder, many, moved, percent, printable, shortened } from "./names.js";
import { copy, csv } from "./save.js";

const AROUND = 10;
const WIDE = 768; // pixels of a window that shows more columns than names
const [OTHERS, LETTER] = [590, 8]; // pixels that the other columns take, and a letter
const [LEAST, BESIDE] = [22, 0.7]; // letters of a name, and its part of the room beside a column of one's own
const COLUMNS = [
  { key: "name", title: "Model", of: (e) => e.name, says: printable },
  { key: "grade", title: "How sure", of: (e) => ["strong", "likely", "open"].indexOf(e.values.grade ?? ""), says: (_, e) => e.values.grade ?? "" },
  { key: "relation", title: "Step", of: (e) => e.edge?.relation, says: printable },
  { key: "direction_probability", title: "Direction", of: (e) => e.edge?.direction_probability, says: (x, e) => (e.edge.undirected ? "open" : percent(x)) },
  { key: "distance", title: "Changed", of: (e) => e.edge?.distance, says: moved },
  { key: "support", title: "Support", of: (e) => e.edge?.support, says: percent },
  { key: "parameters", title: "Weights", of: (e) => e.values.parameters, says: count },
];

/** A column for an attribute: what is stated, else what is inferred, which is said. */
function beside({ key, title, says, guess }) {
  const stated = (e) => e.values[key] !== undefined || !guess;
  return { key, title, of: (e) => e.values[stated(e) ? key : guess], says: (x, e) => (stated(e) ? says(x) : `${says(x)}, inferred`) };
}

export class Table {
  constructor(element, { onpick, nameOfKey }) {
    this.element = element;
    this.on = { onpick, nameOfKey };
    this.rows = [];
    this.by = null; // in the order of the forest
    this.down = false;
    this.inner = el("div", { class: "cells", role: "rowgroup" });
    this.head = el("div", { class: "heads", role: "rowgroup" });
    this.said = el("span", { class: "number" });
    this.grid = el("div", { role: "table", "aria-label": "Models" }, this.head, this.inner);
    element.append(
      el("p", { class: "about" }, this.said, button("Copy as CSV", () => this.copy(), { id: "copy-csv" })),
      this.grid,
    );
    element.addEventListener("scroll", () => this.render(), { passive: true });
    element.addEventListener("click", (event) => this.#pick(event.target.closest("[data-key]"), event));
    element.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.shiftKey) return; // without Shift it is a click
      event.preventDefault();
      this.#pick(event.target.closest("[data-key]"), event);
    });
    new ResizeObserver(() => this.render()).observe(element);
  }

  /** entries: in the order of the forest. own: an attribute that is looked at beside the columns;
   * guess: the key of what is inferred of it, if that is shown. */
  show(entries, look, own) {
    this.entries = entries;
    this.look = look;
    this.columns = own && !COLUMNS.some(({ key }) => key === own.key) ? [...COLUMNS, beside(own)] : COLUMNS;
    this.#sort();
  }

  recolour(look) {
    this.look = look;
    this.render();
  }

  get pitch() {
    return parseFloat(getComputedStyle(this.element).getPropertyValue("--pitch")) || 32;
  }

  /** Of a name, in its column: what tells relatives apart mostly stands last. */
  get letters() {
    const room = (this.element.clientWidth - OTHERS) * (this.columns.length > COLUMNS.length ? BESIDE : 1);
    return window.innerWidth < WIDE ? Infinity : Math.max(LEAST, Math.floor(room / LETTER));
  }

  sortBy(key) {
    if (this.by === key && this.down) this.by = null;
    else this.down = this.by === key;
    if (this.by !== key && !(this.by === null && this.down)) this.by = key;
    if (this.by === null) this.down = false;
    this.#sort();
  }

  #sort() {
    const column = this.columns.find(({ key }) => key === this.by);
    this.rows = [...this.entries];
    if (column) {
      const sign = this.down ? -1 : 1;
      const keyed = this.rows.map((entry, k) => [column.of(entry), k, entry]);
      const order = this.by === "name" ? inOrder : (a, b) => (a < b ? -1 : a > b ? 1 : 0);
      const lacks = (x) => x === undefined || x === null || x === "" || x === -1;
      keyed.sort(([a, i], [b, j]) => lacks(a) - lacks(b) || sign * order(a, b) || i - j);
      this.rows = keyed.map(([, , entry]) => entry);
    }
    this.said.textContent = many(this.rows.length, "line");
    this.head.replaceChildren(el("div", { class: "row", role: "row" }, this.columns.map((c) => this.#heading(c))));
    this.render();
  }

  #heading({ key, title }) {
    const sort = this.by === key ? (this.down ? "descending" : "ascending") : "none";
    const sign = { descending: " ↓", ascending: " ↑", none: "" }[sort];
    return el("div", { role: "columnheader", "aria-sort": sort, class: `c-${key}` }, button(`${title}${sign}`, () => this.sortBy(key), { class: "link", "data-sort": key }));
  }

  render(all = false) {
    if (!this.look) return;
    const { pitch } = this;
    const { scrollTop, clientHeight } = this.element;
    const first = all ? 0 : Math.max(0, Math.floor(scrollTop / pitch) - AROUND);
    const last = all ? this.rows.length : Math.ceil((scrollTop + clientHeight) / pitch) + AROUND;
    const focused = this.inner.contains(document.activeElement) ? document.activeElement.closest("[data-key]")?.dataset.key : null;
    this.inner.style.height = `${this.rows.length * pitch}px`;
    this.grid.setAttribute("aria-rowcount", this.rows.length + 1);
    this.inner.replaceChildren(...this.rows.slice(first, last).map((entry, k) => this.#row(entry, first + k, pitch)));
    if (focused) this.inner.querySelector(`[data-key="${CSS.escape(focused)}"] button`)?.focus({ preventScroll: true });
  }

  #row(entry, k, pitch) {
    const chosen = [this.look.selected, this.look.other].some((item) => item?.entry.key === entry.key);
    const edge = entry.edge;
    const own = tint(entry, this.look);
    const short = [entry.values.grade, edge && printable(edge.relation), typeof edge?.distance === "number" && `${moved(edge.distance)} changed`].filter(Boolean).join(" · ");
    return el(
      "div",
      { class: `row ${chosen ? "chosen" : ""}`, role: "row", "aria-rowindex": k + 2, "data-key": entry.key, "--top": `${k * pitch}px` },
      this.columns.map(({ key, of, says }) => {
        const value = of(entry);
        const words = value === undefined || value === null ? "" : says(value, entry);
        if (key !== "name") return el("div", { role: "cell", class: `c-${key} ${key === "grade" ? `is-${words}` : ""}` }, words);
        const dot = el("span", { class: `dot ${entry.hidden ? "hollow" : own.inferred ? "hatched" : ""}`, "--colour": own.colour ?? "var(--faint)", "aria-hidden": "true" });
        return el("div", { role: "cell", class: "c-name" }, dot, el("button", { type: "button", class: "link plain", title: words }, shortened(words, this.letters)), el("small", { class: "short", "aria-hidden": "true" }, short));
      }),
    );
  }

  #pick(row, event) {
    const entry = row && this.rows.find((x) => String(x.key) === row.dataset.key);
    if (entry) this.on.onpick(entry.key, event);
  }

  /** As text for a spreadsheet, with what the columns leave out. */
  text() {
    const head = ["model", "parent", "grade", "relation", "undirected", "direction_probability", "distance", "support", "parameters", "path"];
    const own = this.columns.slice(COLUMNS.length).map(({ key }) => key);
    const line = (e) => [
      ...[e.id, e.parent === null ? "" : this.on.nameOfKey(e.parent), e.values.grade, e.edge?.relation, Boolean(e.edge?.undirected)],
      ...[e.edge?.direction_probability, e.edge?.distance, e.edge?.support, e.values.parameters, e.values.path],
      ...own.map((key) => e.values[key]),
    ];
    return csv([[...head, ...own], ...this.rows.map(line)]);
  }

  copy() {
    copy(this.text(), `${many(this.rows.length, "line")} copied`);
  }
}
