// Choosing models, and turning pages. A model is a row of the tables and a seed: two choices. Its id is
// the key of its run; "start KEY" is the model that this run started from.
function modelRows(runs, starts) {
  const named = (group, label) =>
    [group.scenario, label, ...(sections().length > 1 ? [group.section] : [])].join(" · ");
  const rows = [];
  const begun = new Map();
  for (const group of data.groups) {
    const known = group.runs.filter(([key]) => runs.has(key));
    if (known.length) rows.push({ name: named(group, group.label), of: known });
    const before = known.filter(([key]) => starts.has(key)).map(([key, seed]) => [`start ${key}`, seed]);
    const name = named(group, "start model");
    if (before.length && !begun.has(name)) begun.set(name, before);
  }
  return [...rows, ...[...begun].map(([name, of]) => ({ name, of }))];
}

// What is remembered of a left and a right model, or the first two rows.
function chooseSides(chosen, rows) {
  const known = new Set(rows.flatMap(({ of }) => of.map(([id]) => id)));
  if (!known.has(chosen.left)) chosen.left = rows[0].of[0][0];
  if (!known.has(chosen.right)) chosen.right = (rows[1] || rows[0]).of[0][0];
}

// Another row keeps the seed where it has it.
function modelChoice(title, rows, chosen, choose) {
  const row = rows.find(({ of }) => of.some(([id]) => id === chosen));
  const seed = row.of.find(([id]) => id === chosen)[1];
  const near = ({ of }) => (of.find(([, other]) => other === seed) || of[0])[0];
  const parts = [select(title, rows.map(({ name }, at) => [String(at), name]), String(rows.indexOf(row)),
    (at) => choose(near(rows[at])))];
  if (row.of.length > 1) {
    parts.push(select("seed", row.of.map(([id, other]) => [id, String(other)]), chosen, choose));
  }
  return element("span", { class: "model" }, ...parts);
}

function searchBox(words, title, value, choose) {
  const box = element("input", { type: "search", placeholder: words, value, "aria-label": title });
  box.addEventListener("input", () => choose(box.value));
  return box;
}

// Controls that are made anew; the one that had the focus has it again.
function remade(box, ...children) {
  const controls = () => [...box.querySelectorAll("select, input, button")];
  const at = controls().indexOf(document.activeElement);
  box.replaceChildren(...children);
  if (at >= 0) controls()[at]?.focus();
}

// Which of so many things a page has, and the line that turns to others.
function paged(count, size, wanted, turn) {
  const last = Math.max(0, Math.ceil(count / size) - 1);
  const page = Math.min(wanted, last);
  const button = (text, to) => element("button", { type: "button", class: "plain",
    disabled: to < 0 || to > last, on: () => turn(to) }, text);
  const line = (before = "") => element("p", { class: "lead pages" }, before, button("earlier", page - 1),
    ` page ${page + 1} of ${last + 1} `, button("later", page + 1));
  return { from: page * size, to: (page + 1) * size, line };
}
