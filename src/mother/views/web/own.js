/** Attributes of the reader's own, from a table: a line a model, its first column the name. */

/** Rows of a CSV file, quoted cells as RFC 4180 has them; the separator is the likeliest. */
export function rows(text) {
  const first = text.slice(0, text.indexOf("\n") + 1 || undefined);
  const separator = [",", ";", "\t"].reduce((best, x) => (first.split(x).length > first.split(best).length ? x : best));
  const out = [[]];
  let cell = "";
  let quoted = false;
  const put = () => {
    out.at(-1).push(cell);
    cell = "";
  };
  for (let k = text.startsWith("\ufeff") ? 1 : 0; k < text.length; k += 1) {
    const c = text[k];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[k + 1] === '"') {
        cell += '"';
        k += 1;
      } else quoted = false;
    } else if (c === '"' && !cell) quoted = true;
    else if (c === separator) put();
    else if (c === "\n") {
      put();
      out.push([]);
    } else if (c !== "\r") cell += c;
  }
  put();
  return out.filter((row) => row.some((x) => x.trim()));
}

/** The table by model: {columns, by: name -> {column: value}}; figures where a whole column is. */
export function table(text) {
  const [head = [], ...body] = rows(text);
  const columns = head.slice(1).map((x) => x.trim());
  const isFigures = columns.map((_, k) => body.every((row) => !row[k + 1]?.trim() || Number.isFinite(Number(row[k + 1]))));
  const by = new Map();
  for (const [name, ...cells] of body) {
    const values = {};
    columns.forEach((column, k) => {
      const cell = cells[k]?.trim();
      if (cell && column) values[column] = isFigures[k] ? Number(cell) : cell;
    });
    by.set(name.trim(), values);
  }
  return { columns: columns.filter(Boolean), by };
}

/** What a column can be coloured by, as `attributes` of source.js has it. */
export function scaleOf(column, by) {
  const counts = new Map();
  for (const { [column]: value } of by.values()) {
    if (value !== undefined) counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  const values = [...counts.keys()];
  if (values.length && values.every((x) => typeof x === "number")) {
    return { key: column, low: values.reduce((a, b) => Math.min(a, b)), high: values.reduce((a, b) => Math.max(a, b)) };
  }
  return { key: column, values: values.sort((a, b) => counts.get(b) - counts.get(a) || (a < b ? -1 : 1)) };
}

/** A source whose entries have those values, too. `given` may come later. */
export function annotated(source) {
  let given = new Map();
  const add = (entry) => {
    const own = given.get(entry.id);
    return own ? { ...entry, values: { ...entry.values, ...own } } : entry;
  };
  const all = (ask) => ask && (async (...what) => (await ask(...what)).map(add));
  return {
    ...source,
    give: (by) => (given = by),
    add,
    roots: all(source.roots),
    children: all(source.children),
    part: all(source.part),
    rows: all(source.rows),
  };
}
