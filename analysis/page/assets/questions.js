// For two models, which questions of a benchmark one gets right and the other wrong.
const QUESTIONS = 100;
const OUTCOMES = [["left alone right", 1, 0], ["right alone right", 0, 1], ["both right", 1, 1], ["both wrong", 0, 0]];

function questions() {
  const { benchmarks } = data.questions;
  const section = document.getElementById("questions");
  section.hidden = !benchmarks.length;
  document.getElementById("questions-link").hidden = section.hidden;
  if (section.hidden) return;
  const { asked } = state;
  if (!benchmarks.some((one) => one.metric === asked.metric)) asked.metric = benchmarks[0].metric;
  const runs = new Set(benchmarks.flatMap((one) => Object.keys(one.runs)));
  const starts = new Set(benchmarks.flatMap((one) =>
    Object.entries(one.runs).filter(([, [start]]) => start !== null).map(([key]) => key)));
  const rows = modelRows(runs, starts);
  chooseSides(asked, rows);
  const choose = (key, again) => (value) => {
    Object.assign(asked, { [key]: value, page: 0 });
    save();
    if (again) questions(); else showQuestions();
  };
  remade(document.getElementById("questions-choice"),
    element("div", { class: "choice" },
      select("Benchmark", benchmarks.map(({ metric }) => [metric, metric]), asked.metric, choose("metric")),
      modelChoice("Left", rows, asked.left, choose("left", true)),
      modelChoice("Right", rows, asked.right, choose("right", true)),
      searchBox("subject or number", "Only questions whose name has", asked.word, choose("word"))));
  showQuestions();
}

function answerSheet(benchmark, model) {
  const start = model.startsWith("start ");
  const at = benchmark.runs[start ? model.slice(6) : model]?.[start ? 0 : 1];
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
  const pages = paged(names.length, QUESTIONS, asked.page, (page) => move({ page })());
  const shown = names.slice(pages.from, pages.to);
  const list = element("ul", { class: "names" }, ...shown.map((one) => element("li", {}, one)));
  list.style.setProperty("--longest", `${Math.max(4, ...shown.map((one) => one.length)) + 1}ch`);
  remade(box, element("div", { class: "chips" }, ...chips),
    shown.length ? list : element("p", { class: "nothing" }, "(none)"), pages.line());
}
