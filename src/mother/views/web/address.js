/** What is shown, as the part of the address after #, so that it can be sent, and Back works. */

const KEYS = ["model", "with", "q", "colour", "family", "support", "distance", "view", "length"];
const LONGEST = 2000;

/** What the address asks for: words by key, and all that `only` names. */
export function asked() {
  const given = new URLSearchParams(window.location.hash.slice(1, LONGEST));
  const state = Object.fromEntries(KEYS.map((key) => [key, given.get(key) ?? ""]));
  return { ...state, only: given.getAll("only") };
}

/** Put it there. step: as a new step, that Back undoes. */
export function tell(state, step) {
  const params = new URLSearchParams(KEYS.filter((key) => state[key]).map((key) => [key, state[key]]));
  for (const one of state.only) params.append("only", one);
  const hash = `${params}` ? `#${params}` : "";
  if (hash === window.location.hash) return;
  const bare = window.location.href.split("#")[0];
  window.history[step ? "pushState" : "replaceState"](null, "", `${bare}${hash}`);
}
