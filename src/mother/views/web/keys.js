/** What each key does. */

import { button, el, part } from "./dom.js";

const KEYS = [
  ["↑ ↓", "previous, next model"],
  ["← →", "close, open; to the parent, to a child"],
  ["Home End", "first, last"],
  ["Enter", "show the evidence"],
  ["C", "compare with the model shown"],
  ["/", "search; Enter goes to the next match"],
  ["+ − 0", "zoom in, out, all"],
  ["?", "these keys"],
  ["Esc", "leave the comparison, the search, the filters"],
];

export function showKeys() {
  const dialog = part("keys");
  dialog.replaceChildren(
    el("h2", { id: "keys-title" }, "Keys"),
    el("dl", {}, KEYS.map(([key, does]) => el("div", {}, el("dt", {}, key.split(" ").map((k) => el("kbd", {}, k))), el("dd", {}, does)))),
    button("Close", () => dialog.close(), { id: "close-keys" }),
  );
  dialog.showModal();
}
