/** Which part of the forest is open. Items are entries of the source with their place among those
 * that were fetched: parent, kids (null until fetched), depth, open. */

const AT_ONCE = 6000; // models that are shown open at the start
const FIRST = 400; // and how many lines of a larger forest
const PART = 500; // children of one model, or roots, that a server is asked for at once

export class Forest {
  /** changed: called with the item that was opened or closed, if it was one. */
  constructor(source, changed) {
    this.source = source;
    this.changed = changed;
    this.items = new Map();
    this.roots = [];
    this.only = null; // the root of the one tree that is looked at
  }

  /** The roots that are shown. */
  get tops() {
    return this.only ? [this.only] : this.roots;
  }

  /** Fetch what is shown first. Whoever asks shows it. */
  async start(models, trees) {
    if (this.source.part && trees > PART) await this.#extend(this.roots, null, trees, 0);
    else this.roots = (await this.source.roots()).map((entry) => this.#item(entry, null));
    if (models <= AT_ONCE) await this.#openBelow(this.roots, AT_ONCE);
    else if (this.roots.length < FIRST) await this.#openBelow(this.roots, FIRST);
  }

  async open(item) {
    await this.#fetch(item);
    if (!item.kids.length) return;
    item.open = true;
    this.changed(item);
  }

  close(item) {
    item.open = false;
    this.changed(item);
  }

  toggle(item) {
    return item.open ? this.close(item) : this.open(item);
  }

  /** Open level after level, as long as no more than `AT_ONCE` lines are shown. True if all is. */
  async openAll() {
    const all = await this.#openBelow(this.roots, AT_ONCE);
    this.changed();
    return all;
  }

  closeAll() {
    for (const item of this.items.values()) item.open = false;
    this.changed();
  }

  /** The item of a key, all above it open. */
  async reveal(key) {
    let shut = false;
    let above = null;
    for (const entry of await this.source.path(key)) {
      if (above) {
        await this.#fetch(above);
        shut ||= !above.open;
        above.open = true;
      }
      if (!this.items.has(entry.key)) {
        // in a part of a long list that was not asked for yet, or new
        (above ? above.kids : this.roots).unshift(this.#item(entry, above));
        shut = true;
      }
      above = this.items.get(entry.key);
    }
    if (shut) this.changed();
    return this.items.get(key);
  }

  /** The next part of a long list, in place of the line that stands for the rest of it; the first
   * of the part. */
  async more({ entry, parent }) {
    const list = parent ? parent.kids : this.roots;
    const at = list.length - 1;
    list.pop();
    await this.#extend(list, parent, entry.more.total, entry.more.offset);
    this.changed(parent);
    return list[at] ?? parent ?? list[0];
  }

  async #extend(list, parent, total, offset) {
    const entries = await this.source.part(parent ? parent.entry.key : null, offset, PART);
    for (const entry of entries) {
      if (!this.items.has(entry.key)) list.push(this.#item(entry, parent));
    }
    const next = offset + entries.length;
    if (entries.length && next < total) list.push(this.#item(rest(parent, total, next), parent));
  }

  /** Open items in the order of the page, and what hangs from them. */
  visible() {
    const out = [];
    const stack = [...this.tops].reverse();
    while (stack.length) {
      const item = stack.pop();
      out.push(item);
      if (item.open) for (let k = item.kids.length - 1; k >= 0; k -= 1) stack.push(item.kids[k]);
    }
    return out;
  }

  async #openBelow(items, most) {
    let shown = items.length;
    let level = items;
    while (level.length) {
      const more = level.reduce((sum, item) => sum + item.entry.children, 0);
      if (shown + more > most && shown > this.roots.length) return false;
      shown += more;
      const next = [];
      const full = level.filter((item) => item.entry.children);
      await Promise.all(full.map((item) => this.#fetch(item)));
      for (const item of full) {
        item.open = true;
        for (const kid of item.kids) next.push(kid);
      }
      level = next;
    }
    return true;
  }

  async #fetch(item) {
    if (item.kids) return;
    if (this.source.part && item.entry.children > PART) {
      const kids = [];
      await this.#extend(kids, item, item.entry.children, 0);
      item.kids = kids;
      return;
    }
    const entries = item.entry.children ? await this.source.children(item.entry.key) : [];
    item.kids = entries.map((entry) => this.#item(entry, item));
  }

  #item(entry, parent) {
    const depth = parent ? parent.depth + 1 : 0;
    const item = { entry, parent, kids: entry.children ? null : [], depth, open: false };
    this.items.set(entry.key, item);
    return item;
  }
}

/** The line that stands for what of a long list was not asked for. */
function rest(parent, total, offset) {
  const name = `… ${(total - offset).toLocaleString("en")} more`;
  const key = `more-${parent ? parent.entry.key : "roots"}`;
  return { key, parent: parent?.entry.key ?? null, id: key, name, needs: [], hidden: false, children: 0, below: 0, edge: null, values: {}, more: { total, offset } };
}
