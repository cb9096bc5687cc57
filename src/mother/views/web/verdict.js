/** Edges in plain words, for graphs that are opened in the page: what verdict.py and grades.py
 * say, which tell those that the page was made with. The tests hold the two against each other. */

import { digits, moved, percent, printable, two, whole } from "./names.js";

export const GRADES = ["strong", "likely", "open"];
const SURE = 0.9;
const EVEN = 0.5;
const CLOSE = 1.1;
const NAMED = 3;
const STEPS = {
  "fine-tune": ["fine-tuned", "from"],
  continuation: ["trained further", "from"],
  lora: ["LoRA-tuned", "from"],
  adapter: ["an adapter", "on"],
  duplicate: ["the same weights", "as"],
  converted: ["converted to another number type", "from"],
  quantized: ["quantized", "from"],
  pruned: ["pruned", "from"],
  merge: ["merged", "from"],
  average: ["averaged", "from"],
  edited: ["edited", "from"],
  resized: ["resized", "from"],
  reshaped: ["reshaped", "from"],
  upcycled: ["upcycled", "from"],
  contains: ["built around", ""],
  relatives: ["a relative", "of"],
};
const UNITS = Object.assign(Object.create(null), { mother: "as the paper measures it", "": "in its method's own measure" });
const SEEN = ["duplicate", "converted", "quantized", "pruned"];
export const ADVERBS = { strong: "", likely: "probably ", open: "perhaps " };
const WEAK = { direction: "which came first is open", support: "found in fewer than 90 % of resamplings", rival: "a second parent is about as near" };

const known = (x) => x !== null && x !== undefined;
/** The least sure of some grades; strong for none. */
export const worse = (...grades) => grades.reduce((a, b) => (GRADES.indexOf(b) > GRADES.indexOf(a) ? b : a), "strong");
const step = (relation) => (Object.hasOwn(STEPS, relation) ? STEPS[relation] : [printable(relation), "of"]);

export function some(names, spelled = printable) {
  const told = names.map((name) => spelled(name));
  if (told.length > NAMED) return `${told.slice(0, NAMED).join(", ")} and ${told.length - NAMED} more`;
  return told.length > 1 ? `${told.slice(0, -1).join(", ")} and ${told.at(-1)}` : told.join("");
}

export function ancestor(hidden) {
  return `hidden ancestor of ${some(hidden.children)}`;
}

function rivalled(edge) {
  return known(edge.runner_up_ratio) && edge.runner_up_ratio < CLOSE;
}

/** Whether both hold the same weights, so that nothing tells which was first. */
export function equal(edge) {
  const stored = ["converted", "quantized"].includes(edge.relation) && edge.undirected;
  return edge.relation === "duplicate" || stored;
}

function rescaled(edge) {
  return edge.relation === "converted" && Boolean(edge.scheme);
}

function place(edge) {
  const least = Math.min(...[edge.support, joined(edge), 1].filter(known));
  if (least < EVEN) return "open";
  return least < SURE || rivalled(edge) ? "likely" : "strong";
}

function joined(edge) {
  return edge.probabilities ? 1 - edge.probabilities.siblings : null;
}

function direction(edge) {
  if (equal(edge)) return "strong";
  if (edge.undirected) return "open";
  const p = edge.direction_probability;
  if (!known(p)) return SEEN.includes(edge.relation) ? "strong" : "likely";
  return p >= SURE ? "strong" : "likely";
}

export function changed(distance) {
  if (distance === 0) return "no weight changed";
  if (distance >= 2) return `its weights moved by ${moved(distance).replace(" times", "")} times the parent's norm`;
  return `${moved(distance)} of its weights' norm changed`;
}

function found(support, resamplings) {
  if (!resamplings) return `found in ${percent(support)} of resamplings`;
  const hits = whole(support * resamplings);
  return `found in ${hits === resamplings ? "all" : `${hits} of`} ${resamplings} resamplings`;
}

function figures(edge, resamplings, method) {
  const p = edge.direction_probability;
  return [
    known(joined(edge)) && `${percent(joined(edge))} sure that one was made from the other`,
    known(p) && !edge.undirected && `${percent(p)} sure of the direction`,
    known(edge.distance) && edge.relation !== "duplicate" && !rescaled(edge) && (method in UNITS ? `weight distance ${digits(edge.distance, 3)}, ${UNITS[method]}` : changed(edge.distance)),
    known(edge.support) && found(edge.support, resamplings),
    edge.relabelled && unhidden(edge.relabelled),
  ].filter(Boolean);
}

/** The stage of training, how sure, and what says so most; "" where nothing is told of it. */
export function stage(edge) {
  const p = edge.generalization;
  const doubt = edge.undirected ? ", if this direction is right" : "";
  if (!known(p)) return edge.stage ? `stage of training: ${printable(edge.stage)}${doubt}` : "";
  const [likely, side] = p > 0.5 ? ["generalization", 1] : ["specialization", -1];
  const sure = percent(Math.max(p, 1 - p));
  if (!edge.stage) return `stage of training: open, ${likely} at ${sure}`;
  const reasons = edge.stage_evidence ?? [];
  const most = Math.max(...reasons.map((reason) => side * reason.log_odds));
  const why = reasons.find((reason) => side * reason.log_odds === most);
  return `stage of training: ${likely}, ${sure} sure${doubt}${why ? `: ${printable(why.says)}` : ""}`;
}

/** What hid two models from each other, and how unlikely it is that they are no kin. */
function unhidden({ p, undone = [], tried = 1 }) {
  const how = undone.length ? `, undone: ${undone.map((kind) => printable(kind)).join(", ")}` : "";
  return `kin under other labels, p = ${two(p)} (${tried} ${tried === 1 ? "pair" : "pairs"} tried)${how}`;
}

/** [grade, sentence, ...figures] of one edge. */
export function ofEdge(edge, resamplings, method = "gram") {
  let [what, before] = step(edge.relation);
  if (rescaled(edge)) what = "converted";
  let rank = known(edge.rank) ? ` (rank ${edge.rank})` : "";
  if (edge.scheme) rank = ` (${printable(edge.scheme)})`;
  const [sure, came] = [place(edge), direction(edge)];
  let adverb = ADVERBS[worse(sure, came === "open" ? "likely" : came)];
  const doubts = came === "open" ? ["which came first is open"] : [];
  if (edge.relation === "relatives") {
    adverb = "";
    doubts.splice(0, 1, "which came first is open");
  } else if (equal(edge)) {
    what = edge.relation === "duplicate" ? "the same weights" : "the same weights in another layout";
    if (edge.scheme) what = `the same weights (${printable(edge.scheme)})`;
    [adverb, before, rank] = ["", "as", ""];
    doubts.push("which of the two came first is not told");
  }
  if (rivalled(edge) && known(edge.runner_up)) doubts.push(`${printable(edge.runner_up)} is about as near`);
  const first = [`${adverb}${what}${rank}`, ...(before ? [before] : []), printable(edge.parent)].join(" ");
  return [worse(sure, came), [first, ...doubts].join("; "), ...figures(edge, resamplings, method)];
}

/** The same of all edges to one model. */
export function ofParents(edges, resamplings, method) {
  if (edges.length === 1) return ofEdge(edges[0], resamplings, method);
  edges = [...edges].sort((a, b) => (b.share ?? 0) - (a.share ?? 0));
  const worst = worse(...edges.flatMap((e) => [place(e), direction(e)]));
  const shared = (e) => `${printable(e.parent)}${known(e.share) ? ` (share ${two(e.share)})` : ""}`;
  const [what, before] = step(edges[0].relation);
  let sentence = [`${ADVERBS[worst]}${what}`, before, some(edges.map(shared), String)].join(" ");
  const open = edges.filter((e) => direction(e) === "open").map((e) => e.parent);
  if (open.length) sentence += `; whether it or ${some(open)} came first is open`;
  const each = edges.map((e) => [printable(e.parent), figures(e, resamplings, method).join(", ")]);
  return [worst, sentence, ...each.filter(([, told]) => told).map(([parent, told]) => `${parent}: ${told}`)];
}

export function ofRoot(edges) {
  const open = edges.filter((e) => direction(e) === "open").map((e) => e.child);
  return ["", open.length ? `drawn as the first of its tree; whether it or ${some(open)} came first is open` : "the first of its tree: no parent among the inputs"];
}

export function ofChild(hidden, id) {
  const others = hidden.children.filter((child) => child !== id);
  const shared = others.length ? `a common ancestor with ${some(others)}` : "an ancestor";
  return ["likely", `probably from ${shared}; that ancestor is not among the inputs`];
}

export function ofHidden(hidden) {
  const above = known(hidden.parent) ? `; probably made from ${printable(hidden.parent)}` : "";
  return ["likely", `inferred from what ${some(hidden.children)} have in common; not among the inputs${above}`];
}

/** Why somebody has to look at a model. */
export function needs(edges, node, hints, hinted) {
  const out = [];
  if (edges.some((e) => direction(e) === "open")) out.push("direction");
  if (edges.some((e) => known(e.support) && e.support < SURE)) out.push("support");
  if (edges.some(rivalled)) out.push("rival");
  if (hints.some((h) => h.kind === "claim" && h.agrees === false)) out.push("contradicted");
  if (hinted && edges.some((e) => !equal(e)) && !hints.some((h) => h.kind === "claim")) out.push("undeclared");
  if (known(node?.compared) && node.compared < SURE) out.push("unread");
  return out;
}

export const NEEDS = {
  ...WEAK,
  contradicted: "the weights disagree with what its files claim",
  undeclared: "it has a parent, and its files name none",
  unread: "not all of it could be read",
};
