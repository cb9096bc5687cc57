/** Which part of the forest is open. Items are entries of the source with their place among those
 * that were fetched: parent, kids (null until fetched), depth, open. */

const AT_ONCE = 6000; // models that are shown open at the start
const FIRST = 400; // and how many lines of a larger forest

export class Forest {
  /** changed: called with the item that was opened or closed, if it was one. */
  constructor(source, changed) {
    this.source = source;
    this.changed = changed;
    this.items = new Map();
    this.roots = [];
  }

  async start(models) {
    this.roots = (await this.source.roots()).map((entry) => this.#item(entry, null));
    if (models <= AT_ONCE) await this.#openBelow(this.roots, AT_ONCE);
    else if (this.roots.length < FIRST) await this.#openBelow(this.roots, FIRST);
    this.changed();
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
    const path = await this.source.path(key);
    for (const entry of path.slice(0, -1)) {
      const item = this.items.get(entry.key);
      await this.#fetch(item);
      shut ||= !item.open;
      item.open = true;
    }
    if (shut) this.changed();
    return this.items.get(key);
  }

  /** Open items in the order of the page, and what hangs from them. */
  visible() {
    const out = [];
    const stack = [...this.roots].reverse();
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
