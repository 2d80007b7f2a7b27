// What the page shows (data, replaced when a live page refreshes) and what the reader chose (state).
let data = JSON.parse(document.getElementById("data").textContent);
const KEY = "tiebreak " + document.title;

// Hidden things are kept, not shown ones: a method that appears while runs go on is then shown.
const state = Object.assign(
  { section: null, scenarios: [], labels: [], seeds: [], hiddenCurves: null, steady: 0, x: null, y: null,
    seedLines: true, choosing: false, intervals: true, measure: "displaced", theme: null, sort: {},
    read: { left: null, right: null, before: true, word: "", where: "any", only: "", verdict: "", order: "", page: 0 },
    asked: { metric: null, left: null, right: null, outcome: 0, word: "", page: 0 } },
  remembered());

// A browser that keeps no storage for pages refuses even the question; choices last until a reload.
function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) || "{}");
  } catch (error) {
    if (error.name !== "SecurityError") throw error;
    return {};
  }
}

function save() {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(state));
  } catch (error) {
    if (error.name !== "SecurityError") throw error;
  }
}

// An element with attributes and children; text only ever becomes a text node.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") made.addEventListener(name === "select" ? "change" : "click", value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function distinct(values) {
  return [...new Set(values)];
}

function sections() {
  return distinct(data.groups.map((group) => group.section));
}

function inSection() {
  return data.groups.filter((group) => group.section === state.section);
}

function scenarios() {
  return distinct(inSection().map((group) => group.scenario));
}

function shownScenarios() {
  return scenarios().filter((name) => !state.scenarios.includes(name));
}

function shownGroups() {
  return inSection().filter((group) =>
    !state.scenarios.includes(group.scenario) && !state.labels.includes(group.label));
}

function shownRuns(group) {
  return group.runs.filter(([, seed]) => !state.seeds.includes(seed));
}

function number(value, digits = 4) {
  return value === null || value === undefined ? "–" : String(Number(value.toPrecision(digits)));
}

function select(label, options, chosen, choose) {
  const made = element("select", { on: (event) => choose(event.target.value) });
  for (const [value, text] of options) {
    made.append(element("option", { value, selected: value === chosen }, text));
  }
  return element("label", {}, label, made);
}

function toggle(list, value) {
  const at = list.indexOf(value);
  if (at < 0) list.push(value); else list.splice(at, 1);
}

// The text that `zipped` in page/markup.py packed into an element.
async function unzipped(id) {
  const text = atob(document.getElementById(id).textContent);
  const packed = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) packed[at] = text.charCodeAt(at);  // `from` takes seconds
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
