// For two models, which questions of a benchmark one gets right and the other wrong.
const PAGE = 100;
const OUTCOMES = [["left alone right", 1, 0], ["right alone right", 0, 1], ["both right", 1, 1], ["both wrong", 0, 0]];

function questions() {
  const { benchmarks } = data.questions;
  const section = document.getElementById("questions");
  section.hidden = !benchmarks.length;
  document.getElementById("questions-link").hidden = section.hidden;
  if (section.hidden) return;
  const choice = document.getElementById("questions-choice");
  const asked = state.asked || (state.asked = { metric: null, left: null, right: null, outcome: 0, word: "", page: 0 });
  if (!benchmarks.some((one) => one.metric === asked.metric)) asked.metric = benchmarks[0].metric;
  const options = models();
  const known = new Set(options.map(([id]) => id));
  if (!known.has(asked.left)) asked.left = options[0][0];
  if (!known.has(asked.right)) asked.right = (options.find(([id]) => id !== asked.left) || options[0])[0];
  const choose = (key) => (value) => { asked[key] = value; asked.page = 0; save(); showQuestions(); };
  const word = element("input", { type: "search", placeholder: "subject or number", value: asked.word,
    "aria-label": "Only questions whose name has" });
  word.addEventListener("input", () => choose("word")(word.value));
  choice.replaceChildren(element("div", { class: "choice" },
    select("Benchmark", benchmarks.map(({ metric }) => [metric, metric]), asked.metric, choose("metric")),
    select("Left", options, asked.left, choose("left")),
    select("Right", options, asked.right, choose("right")), word));
  showQuestions();
}

// [id, name] of every group that answered a benchmark, and of one start model of each scenario.
function models() {
  const { benchmarks } = data.questions;
  const known = data.groups.filter((group) => benchmarks.some((one) => one.groups[group.id]));
  const name = (group, label) => [group.scenario, label, ...(sections().length > 1 ? [group.section] : [])].join(" · ");
  const starts = new Map();
  for (const group of known) {
    if (benchmarks.some((one) => one.groups[group.id]?.[0] != null)) {
      const text = name(group, "start model");
      if (!starts.has(text)) starts.set(text, `start ${group.id}`);
    }
  }
  return [...known.map((group) => [group.id, name(group, group.label)]), ...[...starts].map(([text, id]) => [id, text])];
}

function answerSheet(benchmark, model) {
  const start = model.startsWith("start ");
  const at = benchmark.groups[start ? model.slice(6) : model]?.[start ? 0 : 1];
  if (at == null) return null;
  const bytes = atob(data.questions.bits[at]);
  return (question) => (bytes.charCodeAt(question >> 3) >> (7 - (question & 7))) & 1;
}

// As names_of in page/questions.py.
function questionNames(parts) {
  return parts.flatMap(([prefix, spans]) => (spans === undefined ? [prefix] : spans.split(" ").flatMap((span) => {
    const [first, last = first] = span.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, at) => `${prefix}${first + at}`);
  })));
}

function showQuestions() {
  const box = document.getElementById("questions-body");
  const { asked } = state;
  const benchmark = data.questions.benchmarks.find((one) => one.metric === asked.metric);
  const [left, right] = [asked.left, asked.right].map((model) => answerSheet(benchmark, model));
  if (!left || !right) {
    box.replaceChildren(element("p", { class: "nothing" }, "One of the two was not asked these questions."));
    return;
  }
  const word = asked.word.trim().toLowerCase();
  const found = OUTCOMES.map(() => []);
  questionNames(benchmark.ids).forEach((name, at) => {
    if (!name.toLowerCase().includes(word)) return;
    found[OUTCOMES.findIndex(([, one, other]) => one === left(at) && other === right(at))].push(name);
  });
  const move = (change) => () => { Object.assign(asked, change); save(); showQuestions(); };
  const chips = OUTCOMES.map(([title], at) => element("button", { type: "button", class: "chip",
    "aria-pressed": String(asked.outcome === at), on: move({ outcome: at, page: 0 }) }, `${title}: ${found[at].length}`));
  const names = found[asked.outcome];
  const last = Math.max(0, Math.ceil(names.length / PAGE) - 1);
  const page = Math.min(asked.page, last);
  const turn = (text, to) => element("button", { type: "button", class: "plain", disabled: to < 0 || to > last,
    on: move({ page: to }) }, text);
  box.replaceChildren(
    element("div", { class: "chips" }, ...chips),
    element("p", { class: "text questions" }, names.slice(page * PAGE, (page + 1) * PAGE).join("   ") || "(none)"),
    element("p", { class: "lead" }, turn("earlier", page - 1), ` page ${page + 1} of ${last + 1} `, turn("later", page + 1)));
}
