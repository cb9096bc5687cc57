/** What is known of one model: where it comes from, why we think so, what it is. */

import { breakable, button, el } from "./dom.js";
import { heat } from "./heat.js";
import { bytes, count, figure, isChance, many, part, percent, printable } from "./names.js";
import { ADVERBS, NEEDS, stage } from "./verdict.js";

const ENDS = 3; // stops of a long path, at either end

export function nameOf(entry) {
  return printable(entry.name);
}

/** All of it, as elements. go: show another entry; compare: choose a second one. */
export function panel(details, { go, compare, close, family, print, about, parent, inferred }) {
  const { entry, node } = details;
  return [
    el(
      "header",
      { class: "head" },
      el("h2", { id: "panel-title", tabindex: "-1" }, el("bdi", {}, breakable(nameOf(entry)))),
      button("×", close, { class: "close", "aria-label": "Close" }),
    ),
    ...evidence(details, go),
    lineage(details, go),
    ...looks(entry),
    node?.hints ? hints(node.hints) : null,
    details.stated ? stated(details.stated) : null,
    details.inferred && inferred !== false ? guessed(details.inferred) : null,
    node ? facts(details, about.called) : el("p", {}, "Not among the inputs. Its children have more in common than chance allows, and none of them holds all of another."),
    below(entry),
    record(details, parent, about),
    el(
      "p",
      { class: "actions" },
      button("Compare with another model…", compare, { id: "compare" }),
      button("Only this family", family, { id: "family" }),
      button("Print this evidence", print, { id: "print" }),
    ),
  ];
}

/** The step to a model, no surer than it is. */
export function stepTo({ edge, values }) {
  return edge ? `${ADVERBS[values.grade] ?? ""}${printable(edge.relation)}` : "unknown step";
}

/** The way from the root, as links; of a long one its two ends, until all is asked for. */
export function lineage({ path }, go) {
  const list = el("ol", { class: "path" });
  const stop = (entry, k) =>
    el(
      "li",
      {},
      k ? el("span", { class: "step" }, stepTo(entry), " → ") : "",
      k === path.length - 1
        ? el("span", { "aria-current": "true" }, breakable(nameOf(entry)))
        : button(nameOf(entry), () => go(entry.key), { class: "link" }),
    );
  const stops = path.map(stop);
  const left = path.length - 2 * ENDS;
  const more = button(`… ${left} more …`, () => list.replaceChildren(...stops), { class: "link", id: "whole-path" });
  list.append(...(left > 1 ? [...stops.slice(0, ENDS), el("li", {}, more), ...stops.slice(-ENDS)] : stops));
  return el("nav", { "aria-label": "Path from the root" }, list);
}

/** Why somebody has to look at it. */
function looks({ needs }) {
  return needs.length ? [section("Needs a look", el("ul", { class: "why" }, needs.map((why) => el("li", {}, `${NEEDS[why] ?? printable(why)}.`))))] : [];
}

/** What a file of evidence needs: which tool found it, from which bytes, and how to find it again. */
function record({ node, edge }, parent, about) {
  if (!node) return null;
  const files = (model) => (model.node?.files ?? []).map((f) => el("li", {}, el("span", { class: "mono" }, printable(f.name)), ` ${bytes(f.bytes)} `, el("code", {}, f.sha256 ? `sha256 ${printable(f.sha256)}` : "no hash was noted (mother recover --hashes)")));
  const command = parent?.node && edge ? `mother compare ${quoted(parent.node.path)} ${quoted(node.path)}` : `mother compare ${quoted(node.path)} OTHER`;
  return el(
    "details",
    { class: "record" },
    el("summary", {}, "For the record"),
    el("p", {}, `Found by mother${about.tool ? ` ${printable(about.tool)}` : ""}, method ${printable(about.method)}, from the weights alone.`),
    el("p", {}, "The same on the command line: ", el("code", {}, printable(command))),
    parent?.node && edge ? el("div", {}, el("p", {}, `Files of ${nameOf(parent.entry)}:`), el("ul", { class: "files" }, files(parent))) : "",
    edge ? el("p", {}, `Figures: ${Object.entries(edge).filter(([, x]) => typeof x === "number").map(([key, x]) => `${key} ${isChance(key) ? percent(x) : x}`).join(", ")}`) : "",
  );
}

/** A path as a shell takes it. */
function quoted(path) {
  return /^[\w./:@%+=-]+$/.test(path ?? "") ? path : `'${String(path ?? "").replaceAll("'", "'\\''")}'`;
}

function evidence(details, go) {
  const { edge, path, changes } = details;
  const parent = path.at(-2);
  const said = verdict(details.told);
  if (!edge) return [section("Where it comes from", said, ...polarity((details.hidden ?? {}).polarity))];
  return [
    section(
      "Where it comes from",
      said,
      parent ? el("p", {}, edge.undirected ? "Drawn below " : "Below ", button(nameOf(parent), () => go(parent.key), { class: "link" })) : "",
      alsoFrom(edge, go),
      ...polarity(edge.polarity),
      runnerUp(edge, go),
      stage(edge) ? el("p", {}, `${stage(edge)[0].toUpperCase()}${stage(edge).slice(1)}.`) : "",
      reasons(edge.evidence ?? []),
    ),
    changes && changes.values.length === changes.grid.cells.length
      ? section("Change by layer and block", heat(changes))
      : null,
  ];
}

function section(words, ...children) {
  return el("section", {}, el("h3", {}, words), ...children);
}

function fact(term, value, says, note) {
  if (value === null || value === undefined || value === "") return null;
  return el("div", {}, el("dt", {}, term), el("dd", {}, says(value), note ? [" ", el("small", {}, note)] : ""));
}

/** Grade, sentence and figures, as everywhere. */
export function verdict([grade, sentence, ...figures]) {
  if (!sentence) return el("p", {}, "Comes from an ancestor that is not among the inputs.");
  return el(
    "div",
    {},
    el("p", { class: "claim" }, grade ? [el("span", { class: `grade ${grade}` }, grade), " "] : "", breakable(`${sentence}.`)),
    figures.length ? el("ul", { class: "told" }, figures.map((words) => el("li", {}, words))) : "",
  );
}

/** Where it lies between a child (0), a sibling (1/2) and the parent (1). */
function polarity(value) {
  if (typeof value !== "number") return [];
  const place = (x) => `${Math.max(0, Math.min(100, ((x + 0.5) / 2) * 100))}%`;
  const tick = (x, words) => el("span", { class: "tick", "--at": place(x) }, words);
  return [
    el("p", { class: "scale-title" }, "Polarity ", el("b", {}, figure(value))),
    el(
      "div",
      { class: "scale", "aria-hidden": "true" },
      el("span", { class: "needle", "--at": place(value) }),
      tick(0, "child"),
      tick(0.5, "sibling"),
      tick(1, "parent"),
    ),
  ];
}

/** The further parents of a merge, with what it took of each. */
function alsoFrom(edge, go) {
  if (!edge.also) return "";
  return el(
    "p",
    { class: "also" },
    `Share of this parent ${figure(edge.share)}. Also from `,
    edge.also.flatMap(({ name, share, at }, k) => [
      k ? ", " : "",
      typeof at === "number" ? button(printable(name), () => go(at), { class: "link" }) : printable(name),
      typeof share === "number" ? ` (share ${figure(share)})` : "",
    ]),
    ".",
  );
}

function runnerUp(edge, go) {
  if (!edge.runner_up) return "";
  const name = printable(edge.runner_up);
  const ratio = typeof edge.runner_up_ratio === "number" ? `, ${figure(edge.runner_up_ratio)} times as far` : "";
  const who = edge.runner === undefined ? name : button(name, () => go(edge.runner), { class: "link" });
  return el("p", { class: "runner" }, "Next best parent: ", who, ratio);
}

function reasons(all) {
  if (!all.length) return "";
  const most = all.reduce((top, e) => Math.max(top, Math.abs(e.log_odds)), 1);
  return el(
    "ul",
    { class: "reasons" },
    all.map(({ says, kind, log_odds: odds }) =>
      el(
        "li",
        {},
        el("span", { class: "says" }, printable(says || kind)),
        el("span", { class: "odds" }, signed(odds)),
        el("span", {
          class: `lean ${odds < 0 ? "against" : "for"}`,
          "--share": `${Math.round((50 * Math.abs(odds)) / most)}%`,
          "aria-hidden": "true",
        }),
      ),
    ),
    el("li", { class: "note" }, "log-odds for this parent; below zero speaks against"),
  );
}

function signed(x) {
  const digits = Math.abs(x).toFixed(1);
  return `${digits === "0.0" ? "" : x > 0 ? "+" : "−"}${digits}`;
}

/** Claims and dates: no edge depends on them. */
function hints(all) {
  return section(
    "What files say",
    el("p", { class: "note" }, "Not from the weights: anyone can write it, and copying changes dates."),
    el("ul", { class: "hints" }, all.map(({ says, agrees }) => el("li", agrees === false ? { class: "warning" } : {}, breakable(printable(says))))),
  );
}

/** What tables and files say of the model. */
function stated(all) {
  return section(
    "Stated",
    el("dl", { class: "facts" }, Object.entries(all).map(([name, { value, source }]) => fact(printable(name), value, plain, printable(source)))),
  );
}

/** What its relatives let expect of it: a guess, and never mixed with what is stated. */
function guessed(all) {
  return section(
    "Inferred, not stated",
    el("p", { class: "note" }, "From what relatives state; nobody says it of this model."),
    el("dl", { class: "facts inferred" }, Object.entries(all).map(([name, of]) => fact(printable(name), of.value, (x) => [el("span", { class: "hatched dot", "--colour": "var(--soft)", "aria-hidden": "true" }), " ", ...[plain(x)].flat(), sure(of)], printable(of.why)))),
  );
}

function plain(value) {
  return typeof value === "number" ? figure(value) : breakable(printable(value));
}

function sure({ probability, low, high }) {
  const between = typeof low === "number" && typeof high === "number" ? `, ${figure(low)} to ${figure(high)}` : "";
  return typeof probability === "number" ? ` (${percent(probability)}${between})` : between;
}

/** An architecture by a model that has it, for its digest says nothing to people. */
export function likened(architecture, called) {
  return architecture && (called?.[architecture] ?? printable(architecture));
}

/** Size, format, hashes. */
function facts({ node }, called) {
  const files = node.files ?? [];
  const whole = files.reduce((sum, f) => sum + f.bytes, 0);
  return section(
    "Model",
    el(
      "dl",
      { class: "facts" },
      fact("Path", node.path, (x) => el("span", { class: "mono" }, breakable(printable(x)))),
      fact("Size", node.parameters, (x) => `${count(x)} weights${whole ? `, ${bytes(whole)}` : ""}`),
      fact("Compared", node.compared, (x) => (x < 1 ? `${part(x)} of its weights` : "all of its weights")),
      fact("Read", node.read, (x) => `${part(x)} of its bytes`),
      fact("Number type", node.dtype, printable),
      fact("Format", node.format, printable),
      fact("Architecture", node.architecture, (x) => likened(x, called), called?.[node.architecture] ? printable(node.architecture) : ""),
      fact("Same weights as", node.duplicate_of, printable),
      fact("Same bytes as", node.identical_to, printable, node.freed ? `safe to delete: ${bytes(node.freed)} would be free` : ""),
    ),
    files.length
      ? el(
          "ul",
          { class: "files" },
          files.map((f) =>
            el(
              "li",
              {},
              el("span", { class: "mono" }, printable(f.name)),
              ` ${bytes(f.bytes)}`,
              f.sha256 ? el("code", {}, `sha256 ${printable(f.sha256)}`) : "",
            ),
          ),
        )
      : "",
    lines("Notes", node.notes ?? []),
    lines("Tensors without a partner", node.unaligned ?? []),
  );
}

function lines(words, all) {
  if (!all.length) return "";
  return el(
    "details",
    {},
    el("summary", {}, `${words} (${all.length})`),
    el("ul", {}, all.slice(0, 200).map((x) => el("li", {}, printable(x))), all.length > 200 ? el("li", {}, `… ${all.length - 200} more`) : ""),
  );
}

function below(entry) {
  if (!entry.below) return "";
  const all = entry.below > entry.children ? `, ${many(entry.below, "descendant")}` : "";
  return el("p", { class: "note" }, `${many(entry.children, "child", "children")}${all}.`);
}
