/** The questions of source.js, asked of the server that the page came from; one more for lists that
 * are too long to be had at once; and three more, which read weights:
 *
 *   part(key, offset, limit)   so many of the children of that entry, or of the roots for null
 *   compare(a, b)   what two models are to each other, by their ids
 *   place(path)     where a checkpoint on the server's disk would hang
 *   drop(file)      where a checkpoint of the reader's would hang, which is sent
 */

export const SILENT = "The server does not answer: is `mother serve` still running?";

const MOST_KEYS = 500;
const MOST_ENTRIES = 1000;
const MOST_MATCHES = 100000;

export function served() {
  let asked = null;

  /** Children of many models, asked for in the same breath, are one request. */
  function children(key) {
    if (!asked || asked.keys.length === MOST_KEYS) {
      const now = { keys: [] };
      now.answer = Promise.resolve().then(() => {
        if (asked === now) asked = null;
        return below(now.keys);
      });
      asked = now;
    }
    asked.keys.push(key);
    return asked.answer.then((by) => by.get(key) ?? []);
  }

  async function below(keys) {
    const by = new Map();
    for (const entry of await trees(keys)) {
      if (!by.has(entry.parent)) by.set(entry.parent, []);
      by.get(entry.parent).push(entry);
    }
    return by;
  }

  /** So many of what hangs right below, or of the roots for null. */
  async function part(key, offset, limit) {
    const of = key === null ? [] : [["of", key]];
    return (await ask(`/api/trees?${new URLSearchParams([...of, ["offset", offset], ["limit", limit]])}`)).entries;
  }

  const details = (key) => ask(`/api/node/${key}`);

  return {
    about: () => ask("/api/graph"),
    roots: () => trees([]),
    children,
    part,
    path: async (key) => (await details(key)).path,
    details,
    async rows() {
      const all = [];
      let total = 1;
      while (all.length < total) {
        const found = await ask(`/api/entries?${new URLSearchParams({ offset: all.length, limit: MOST_ENTRIES })}`);
        total = found.total;
        all.push(...found.entries);
        if (!found.entries.length) break;
      }
      return all;
    },
    async find(id) {
      const found = await ask(`/api/search?${new URLSearchParams({ id: id.slice(0, 1000) })}`);
      return found.matches[0]?.key ?? null;
    },
    async search(text) {
      if (!text.trim()) return [];
      const found = await ask(`/api/search?${new URLSearchParams({ q: text.slice(0, 1000), limit: MOST_MATCHES })}`);
      return found.matches.map(({ key }) => key);
    },
    compare: (a, b) => ask("/api/compare", { a, b }),
    place: (path) => ask("/api/place", { path }),
    drop: (file) => ask(`/api/drop?${new URLSearchParams({ name: file.name.slice(-200) })}`, file),
  };
}

/** All of a list that comes in parts. */
async function trees(keys) {
  const all = [];
  let total = 1;
  while (all.length < total) {
    const query = new URLSearchParams([...keys.map((key) => ["of", key]), ["offset", all.length], ["limit", MOST_ENTRIES]]);
    const part = await ask(`/api/trees?${query}`);
    total = part.total;
    all.push(...part.entries);
    if (!part.entries.length) break;
  }
  return all;
}

async function ask(path, body) {
  const sent = body instanceof File ? ["application/octet-stream", body] : ["application/json", JSON.stringify(body)];
  const how = body && { method: "POST", headers: { "Content-Type": sent[0] }, body: sent[1] };
  let response;
  let answer;
  try {
    response = await fetch(path, how);
    answer = await response.json();
  } catch {
    throw new Error(SILENT);
  }
  if (!response.ok) throw new Error(answer.detail);
  return answer;
}
