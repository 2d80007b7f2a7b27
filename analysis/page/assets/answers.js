// What two models write to the same prompts: all of it, searched, filtered, ordered, a page at a time.
const PROMPTS = 20;
let written = null;  // a promise of all texts: they are unpacked when the answers come near the screen
const reader = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) showAnswers();
}, { rootMargin: "400px" });

function answers() {
  const told = data.answers;
  const lead = document.getElementById("answers-lead");
  const choice = document.getElementById("answers-choice");
  const section = document.getElementById("answers");
  reader.unobserve(section);
  if (!told.runs.length) {
    lead.textContent = "No finished run has left its answers.";
    choice.replaceChildren();
    document.getElementById("answers-body").replaceChildren();
    return;
  }
  const finished = Object.keys(data.results.runs).length;
  const some = told.runs.length < finished ? `${told.runs.length} of ${finished} runs` : `${finished} runs`;
  lead.textContent = `All ${told.answers} answers of ${some} to ${told.prompts} prompts. ` +
    "Grey: the start model's, where a model had one." + (told.longest === null ? "" :
    ` Texts are cut to ${told.longest} characters; the whole ones are in generations.jsonl of each record.`);
  const rows = modelRows(new Set(told.runs), new Set(told.starts));
  const { read } = state;
  chooseSides(read, rows);
  const choose = (key, again) => (value) => {
    Object.assign(read, { [key]: value, page: 0 });
    save();
    if (again) answers(); else showAnswers();
  };
  const one = (title, key, options) => {
    if (!options.some(([value]) => value === read[key])) read[key] = options[0][0];
    return options.length > 1 ? [select(title, options, read[key], choose(key))] : [];
  };
  remade(choice,
    element("div", { class: "choice" },
      modelChoice("Left", rows, read.left, choose("left", true)),
      modelChoice("Right", rows, read.right, choose("right", true)),
      chip("start model's answers", read.before, choose("before"))),
    element("div", { class: "choice" },
      searchBox("words", "Only prompts or answers that have these words", read.word, choose("word")),
      ...one("in", "where", [["any", "prompts and answers"], ["prompt", "prompts"], ["answer", "answers"]]),
      ...one("Show", "only", comparisons(told.measures)),
      ...one("Verdict", "verdict", verdicts(told.measures)),
      ...one("Order", "order", orders(told.measures))));
  reader.observe(section);
}

function comparisons(measures) {
  return [["", "all"], ["text", "answers that differ"], ...measures.flatMap(([name, label, kind]) => (
    kind === "length" ? [[`${name} left`, "left is longer"], [`${name} right`, "right is longer"]]
      : [[`${name} left`, `${label}: left above right`], [`${name} right`, `${label}: right above left`]]))];
}

const OUTCOME = {
  won: (value) => value > 0.5, tied: (value) => value === 0.5, lost: (value) => value !== null && value < 0.5,
  none: (value) => value === null,
};

function verdicts(measures) {
  const known = measures.filter(([, , kind]) => kind === "verdict");
  return [["", "any"], ...known.flatMap(([name, label]) => ["left", "right"].flatMap((side) =>
    Object.keys(OUTCOME).map((what) => [`${name} ${side} ${what}`, `${label}, ${side}: ${what}`])))];
}

function orders(measures) {
  const length = measures.find(([, , kind]) => kind === "length")[0];
  return [["", "as asked"], [`${length} left`, "longest on the left"], [`${length} right`, "longest on the right"],
    ...measures.map(([name, label]) => [`${name} apart`, `largest difference: ${label}`])];
}

// What one model wrote: prompt -> text and measures, with the start model's above it.
function sheetOf(all, id) {
  const start = id.startsWith("start ");
  const [asked, before, after, measures] = all.runs[start ? id.slice(6) : id];
  const places = new Map(all.columns[asked].map((prompt, at) => [prompt, at]));
  const cell = (prompt, at, texts, side) => (texts === null ? null : {
    text: all.prompts[prompt][2][all.columns[texts][at]],
    values: Object.fromEntries(Object.entries(measures).map(([name, columns]) =>
      [name, columns[side] === null ? null : all.columns[columns[side]][at]])),
  });
  return { places, at: (prompt) => {
    const at = places.get(prompt);
    if (at === undefined) return null;
    return start ? cell(prompt, at, before, 0)
      : { ...cell(prompt, at, after, 1), before: cell(prompt, at, before, 0) };
  } };
}

function foundAnswers(all) {
  const { read } = state;
  const [left, right] = [read.left, read.right].map((id) => sheetOf(all, id));
  const value = (side, name) => side?.values[name] ?? null;
  const asked = [...left.places.keys()].map((prompt) => ({ prompt, left: left.at(prompt), right: right.at(prompt) }));
  const word = read.word.trim().toLowerCase();
  const has = (text) => text.toLowerCase().includes(word);
  const [only, side] = read.only.split(" ");
  const [judged, of, outcome] = read.verdict.split(" ");
  const found = asked.filter((one) => {
    const texts = [one.left.text, ...(one.right ? [one.right.text] : [])];
    const inside = (read.where !== "answer" && has(all.prompts[one.prompt][1]))
      || (read.where !== "prompt" && texts.some(has));
    if (word && !inside) return false;
    if (judged && !OUTCOME[outcome](value(one[of], judged))) return false;
    if (!only) return true;
    if (!one.right) return false;
    if (only === "text") return one.left.text !== one.right.text;
    const [here, there] = side === "left" ? [one.left, one.right] : [one.right, one.left];
    return value(here, only) !== null && value(there, only) !== null && value(here, only) > value(there, only);
  });
  const [name, how] = read.order.split(" ");
  if (name) {
    const size = (one) => (how === "apart" ? Math.abs(value(one.left, name) - value(one.right, name))
      : value(one[how], name) ?? -1);
    found.sort((one, other) => size(other) - size(one));
  }
  return { found, asked: asked.length };
}

async function showAnswers() {
  const body = document.getElementById("answers-body");
  if (!body.firstChild) body.append(element("p", { class: "nothing" }, "The texts are being unpacked."));
  written = written || unzipped("texts").then(JSON.parse);
  const all = await written;
  const { read } = state;
  const { found, asked } = foundAnswers(all);
  const pages = paged(found.length, PROMPTS, read.page, (page) => {
    read.page = page;
    save();
    showAnswers();
    document.getElementById("answers").scrollIntoView();
  });
  const shown = found.slice(pages.from, pages.to).map((one) => {
    const [id, prompt] = all.prompts[one.prompt];
    return element("article", { class: "prompt" },
      element("p", { class: "text" }, prompt, element("small", {}, id)),
      element("div", { class: "sides" }, answer(read.left, one.left), answer(read.right, one.right)));
  });
  body.replaceChildren(
    pages.line(`${found.length} of ${asked} prompts · `), ...shown,
    ...(shown.length > 3 ? [pages.line()] : []));
}

function answer(id, found) {
  if (!found) return element("div", {}, element("p", { class: "nothing" }, "Not asked of this model."));
  const start = id.startsWith("start ");
  const key = start ? id.slice(6) : id;
  const { label } = data.groups.find((group) => group.runs.some(([run]) => run === key));
  const words = { length: (value, text) => `${value} ${text}`, number: (value, text) => `${text} ${number(value, 3)}`,
    verdict: (value, text) => `${text}: ${["won", "tied", "lost"].find((one) => OUTCOME[one](value))}` +
      ([0, 0.5, 1].includes(value) ? "" : ` (${number(value, 2)})`) };
  const numbers = ({ values }) => data.answers.measures.filter(([name]) => values[name] != null)
    .map(([name, text, kind]) => words[kind](values[name], text)).join(" · ");
  const part = (who, one, kind) => [
    element("p", { class: "who" }, who, element("span", {}, numbers(one))),
    element("p", { class: kind }, one.text || "(nothing)")];
  return element("div", {},
    ...(state.read.before && found.before ? part("start model", found.before, "text before") : []),
    ...part(start ? "start model" : label, found, "text"));
}
