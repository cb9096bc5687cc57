/**
 * Where the view gets its models from. The graph lies inside the page here; every answer is a
 * promise all the same, so that a server can answer the same questions a part at a time (served.js):
 *
 *   about()          title, method, counts, refused inputs, colours, attributes to colour by
 *   roots()          the entries of all roots
 *   children(key)    the entries right below
 *   path(key)        keys from the root down to that entry
 *   details(key)     everything known of one entry
 *   search(text)     keys of all that match, in the order of the forest
 *   rows()           the entries of all, in that order
 *   find(id)         the key of a model, null if there is none
 *
 * An entry: key, parent (a key or null), id, name, hidden, needs (why somebody has to look at it), children (how many), below (how many at any
 * depth), edge ({relation, support, undirected, …} or null), values (by attribute).
 */

const EDGE = ["relation", "grade", "stage", "support", "distance", "polarity", "direction_probability"];
const NODE = ["format", "dtype", "architecture", "parameters"];
const UNKNOWN = "direction unknown, direction open";
const UNCOLOURED = new Set(["path", "duplicate_of", "identical_to", "runner_up", "runner"]);
const PLAIN = ["string", "number", "boolean"];

export function embedded(data) {
  const items = data.items;
  const children = items.map(() => []);
  items.forEach((item, key) => item.p >= 0 && children[item.p].push(key));
  const below = new Array(items.length).fill(0);
  for (let key = items.length - 1; key >= 0; key -= 1) {
    if (items[key].p >= 0) below[items[key].p] += 1 + below[key];
  }
  const roots = items.flatMap((item, key) => (item.p < 0 ? [key] : []));
  const words = [];
  let byId = null;

  function entry(key) {
    const item = items[key];
    return {
      key,
      parent: item.p < 0 ? null : item.p,
      id: item.name,
      name: item.called ?? item.name,
      needs: item.needs ?? [],
      hidden: Boolean(item.hidden),
      children: children[key].length,
      below: below[key],
      edge: item.edge ?? null,
      values: values(item),
    };
  }

  function path(key) {
    const keys = [];
    for (let at = key; at >= 0; at = items[at].p) keys.unshift(at);
    return keys;
  }

  function text(key) {
    if (words[key] === undefined) {
      const { name, called = "", told = [], node = {}, edge = {} } = items[key];
      const files = (node.files ?? []).flatMap((f) => [f.name, f.sha256 ?? ""]);
      const all = [name, called, told[0] ?? "", node.path ?? "", edge.relation ?? "", edge.undirected ? UNKNOWN : "", ...(node.notes ?? []), ...files];
      words[key] = all.join("\n").toLowerCase();
    }
    return words[key];
  }

  return {
    async about() {
      return {
        ...data.about,
        models: items.filter((item) => !item.hidden).length,
        hidden: items.filter((item) => item.hidden).length,
        trees: roots.length,
        attributes: attributes(items),
        whole: true,
      };
    },
    async rows() {
      return items.map((_, key) => entry(key));
    },
    async find(id) {
      byId ??= new Map(items.map((item, key) => [item.name, key]));
      return byId.get(id) ?? null;
    },
    async roots() {
      return roots.map(entry);
    },
    async children(key) {
      return children[key].map(entry);
    },
    async path(key) {
      return path(key).map(entry);
    },
    async details(key) {
      const { stated, inferred } = items[key];
      const { node, edge, hidden, changes } = items[key];
      const grid = node && changes ? data.grids[node.architecture] : null;
      return {
        entry: entry(key),
        path: path(key).map(entry),
        node: node ?? null,
        edge: edge ?? null,
        hidden: hidden ?? null,
        told: items[key].told ?? [],
        changes: grid ? { grid, values: numbers(changes) } : null,
        stated: stated ?? null,
        inferred: inferred ?? null,
      };
    },
    async search(query) {
      const wanted = query.toLowerCase().split(/\s+/).filter(Boolean);
      if (!wanted.length) return [];
      return items.flatMap((_, key) => (wanted.every((w) => text(key).includes(w)) ? [key] : []));
    },
  };
}

/** What an entry can be coloured by, and how sure its edge is. Attributes that are stated of it stand
 * under ~name, those that are inferred under ?name. */
function values({ node, edge, told, stated, inferred }) {
  const known = told?.[0] ? { ...node, ...edge, grade: told[0] } : { ...node, ...edge };
  for (const [name, { value }] of Object.entries(stated ?? {})) known[`~${name}`] = value;
  for (const [name, { value }] of Object.entries(inferred ?? {})) known[`?${name}`] = value;
  return known;
}

/** "0.01 - 0.2" as numbers, null where none is known. */
function numbers(line) {
  return line.split(" ").map((word) => (word === "-" ? null : Number(word)));
}

/** What the models can be coloured by: figures with their range, words with what they say; and which
 * of it is inferred of any model: for figures, whether some is. */
function attributes(items) {
  const seen = new Map();
  const guessed = new Map();
  const count = (key, value) => {
    if (UNCOLOURED.has(key) || !PLAIN.includes(typeof value)) return;
    if (!seen.has(key)) seen.set(key, new Map());
    const values = seen.get(key);
    values.set(value, (values.get(value) ?? 0) + 1);
  };
  for (const { node, edge, told, stated, inferred } of items) {
    for (const part of [node, edge]) for (const key in part) count(key, part[key]);
    if (told?.[0]) count("grade", told[0]);
    // one scale for what is stated and what is inferred
    for (const part of [stated, inferred]) for (const name in part) count(`~${name}`, part[name].value);
    for (const name in inferred) guessed.set(`~${name}`, (guessed.get(`~${name}`) ?? new Set()).add(inferred[name].value));
  }
  const order = [...EDGE, ...NODE];
  const place = (key) => (order.includes(key) ? order.indexOf(key) : order.length);
  return [...seen.keys()]
    .sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1))
    .map((key) => {
      const values = [...seen.get(key).entries()];
      if (values.every(([value]) => typeof value === "number")) {
        const all = values.map(([value]) => value);
        const some = guessed.has(key) ? { guessed: true } : {};
        return { key, low: all.reduce((a, b) => Math.min(a, b)), high: all.reduce((a, b) => Math.max(a, b)), ...some };
      }
      values.sort((a, b) => b[1] - a[1] || (String(a[0]) < String(b[0]) ? -1 : 1));
      const words = values.map(([value]) => value);
      return guessed.has(key) ? { key, values: words, guessed: words.filter((word) => guessed.get(key).has(word)) } : { key, values: words };
    });
}
