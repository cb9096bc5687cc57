/** graph.json, opened in the page, as the page would have been made from it (page.py). */

import { grid } from "./blocks.js";
import { inOrder, printable } from "./names.js";
import { ancestor, needs, ofChild, ofHidden, ofParents, ofRoot } from "./verdict.js";

const SCHEMAS = ["mother.model-graph/1", "mother.model-graph/2"];
const WHOLE = 0.995;
const LARGEST = 1 << 29;

/** What `embedded` of source.js takes. Throws, with what is wrong in words. */
export async function opened(file, palette) {
  if (file.size > LARGEST) throw new Error(`${file.name} is larger than ${LARGEST >> 20} MiB`);
  let graph;
  try {
    graph = JSON.parse(await file.text());
  } catch {
    throw new Error(`${file.name} is not JSON`);
  }
  if (!SCHEMAS.includes(graph?.schema)) throw new Error(`${file.name} is no model graph: it has no schema ${SCHEMAS[0]}`);
  try {
    const data = seen(graph, palette);
    data.about.title = file.name;
    return data;
  } catch (fault) {
    throw new Error(`${file.name} is a model graph with a broken part (${fault.message})`);
  }
}

/** Of each model the edge that it hangs by: from its main parent, if it was merged. Shares that
 * differ by less than they are known by count as equal. */
function main(edges) {
  const by = new Map();
  const share = (edge) => Math.round(100 * (edge.share ?? 0));
  for (const edge of edges) {
    const before = by.get(edge.child);
    if (!before || share(edge) > share(before) || (share(edge) === share(before) && edge.parent < before.parent)) by.set(edge.child, edge);
  }
  return [...by.values()];
}

/** What a file says, and whether the tree agrees; as hints.py has it. */
function hinting({ kind, source, says, parent, agrees }) {
  const of = parent === null || parent === undefined ? null : printable(parent);
  const [known, date] = [agrees === true || agrees === false, kind === "date"];
  let verdict;
  if (of === null) verdict = date ? "no parent to compare it with" : "unknown, it names none of the other inputs, or several";
  else if (!known) verdict = date ? `tells nothing of ${of}` : `unknown, the weights don't tell whether it comes from ${of}`;
  else if (date) verdict = agrees ? `agrees, later than its parent ${of}` : `disagrees, earlier than its parent ${of}`;
  else verdict = agrees ? `the tree agrees, it comes from ${of} there` : `the tree disagrees, it does not come from ${of} there`;
  return `${printable(kind)} ${printable(says)} (${printable(source)}): ${verdict}`;
}

/** Architectures by the first model of each. */
function called(nodes) {
  const named = {};
  for (const { id, architecture } of nodes) named[architecture] ??= `like ${printable(id)}`;
  return named;
}

function seen(graph, palette) {
  const list = (key) => (Array.isArray(graph[key]) ? graph[key] : []);
  const [edges, hidden, hints] = [list("edges"), list("hidden"), list("hints")];
  const nodes = new Map(list("nodes").map((node) => [String(node.id), node]));
  const ancestors = new Map(hidden.map((h) => [String(h.id), h]));
  const by = (all, key) => {
    const found = new Map();
    for (const one of all) {
      if (!found.has(String(one[key]))) found.set(String(one[key]), []);
      found.get(String(one[key])).push(one);
    }
    return found;
  };
  const [to, from, hinted] = [by(edges, "child"), by(edges, "parent"), by(hints, "model")];
  const under = new Map(hidden.flatMap((h) => h.children.map((child) => [String(child), h])));
  const below = new Map();
  const hang = (parent, child) => {
    if (!below.has(String(parent))) below.set(String(parent), new Set());
    below.get(String(parent)).add(String(child));
  };
  for (const { parent, child } of main(edges)) hang(parent, child);
  for (const h of hidden) {
    if (h.parent !== null && h.parent !== undefined) hang(h.parent, h.id);
    for (const child of h.children) hang(h.id, child);
  }
  const hanging = new Set([...below.values()].flatMap((x) => [...x]));
  const roots = list("trees").map((tree) => String(tree.root));
  for (const id of [...nodes.keys(), ...ancestors.keys(), ...below.keys()].sort()) if (!hanging.has(id) && !roots.includes(id)) roots.push(id);
  const resamplings = Number(graph.options?.bootstrap) || 0;
  const method = String(graph.method ?? "");
  const known = attributes(list("stated"), list("inferred"));
  const grids = Object.create(null);
  const items = [];
  const drawn = new Set();
  const stack = [...roots].reverse().map((id) => [id, -1]);
  while (stack.length) {
    const [id, p] = stack.pop();
    if (drawn.has(id)) continue;
    drawn.add(id);
    const key = items.length;
    items.push(item(id, p));
    stack.push(...[...(below.get(id) ?? [])].sort(inOrder).reverse().map((child) => [child, key]));
  }

  function item(id, p) {
    const out = { p, name: id };
    const [node, h, own, said] = [nodes.get(id), ancestors.get(id), to.get(id) ?? [], hinted.get(id) ?? []];
    if (node) {
      out.node = { ...node };
      delete out.node.id;
      const shown = said.map((hint) => ({ says: hinting(hint), agrees: hint.agrees ?? null }));
      if (shown.length) out.node.hints = shown;
    }
    if (h) Object.assign(out, { hidden: { polarity: h.polarity }, called: ancestor(h) });
    const edge = own.find(({ parent }) => p >= 0 && String(parent) === items[p].name);
    if (edge) {
      const { parent, child, changes, ...figures } = edge;
      out.edge = Object.fromEntries(Object.entries(figures).filter(([, value]) => value !== null && value !== false));
      if (changes?.length && node) {
        out.changes = changes.map((x) => x ?? "-").join(" ");
        grids[node.architecture] ??= grid((graph.layers?.[node.architecture] ?? []).map(String));
      }
    }
    const others = own.filter((x) => x !== edge);
    if (edge && others.length) out.edge.also = others.map(({ parent, share }) => ({ name: String(parent), share }));
    out.told = h ? ofHidden(h) : own.length ? ofParents(own, resamplings, method) : under.has(id) ? ofChild(under.get(id), id) : below.has(id) || from.has(id) ? ofRoot(from.get(id) ?? []) : ["", "no relative among the inputs"];
    if (typeof node?.compared === "number" && node.compared < WHOLE) out.told.push(`${Math.trunc(100 * node.compared)} % of its weights compared`);
    const why = needs(own, node, said, hints.length > 0);
    if (why.length) out.needs = why;
    return { ...out, ...known.get(id) };
  }

  return {
    about: { title: "", method, refused: list("refused"), palette, called: called(list("nodes")), tool: "", inferred: list("inferred").length > 0, claims: hints.length > 0 },
    grids,
    items,
  };
}

/** By model what is stated and what is inferred of it, apart from each other. */
function attributes(stated, inferred) {
  const by = new Map();
  const value = ({ texts, number }) => (typeof number === "number" ? number : (texts ?? []).join(", "));
  const put = (kind, one, more) => {
    const model = String(one.model);
    if (!by.has(model)) by.set(model, {});
    (by.get(model)[kind] ??= Object.create(null))[one.attribute] = { value: value(one), ...more };
  };
  for (const one of stated) put("stated", one, { source: one.source ?? "" });
  for (const one of inferred) put("inferred", one, { why: one.why ?? "", probability: one.probability, low: one.low, high: one.high });
  return by;
}
