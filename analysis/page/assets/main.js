// A button that is on or off.
function chip(name, pressed, choose, look) {
  const made = element("button", { type: "button", class: "chip", "aria-pressed": String(pressed),
    "data-name": name });
  if (look) {
    made.append(swatch(look));
  }
  made.append(element("span", { class: "name" }, name));
  made.addEventListener("click", () => {
    const now = made.getAttribute("aria-pressed") !== "true";
    made.setAttribute("aria-pressed", String(now));
    choose(now);
  });
  return made;
}

// A group's line and point, as the charts draw them.
function swatch({ colour: tint, dash, symbol }) {
  const svg = (name, attributes) => {
    const made = document.createElementNS(document.getElementById("svg").namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const dashes = { dash: "5 2.5", dot: "1.5 2", dashdot: "5 2 1.5 2", longdash: "8 2" }[dash] || "none";
  const open = symbol.endsWith("-open");
  const box = svg("svg", { class: "swatch", viewBox: "0 0 26 10", "aria-hidden": "true" });
  box.append(
    svg("line", { x1: 0, x2: 26, y1: 5, y2: 5, stroke: tint, "stroke-width": 2, "stroke-dasharray": dashes }),
    svg("path", { d: SHAPES[symbol.replace("-open", "")] || SHAPES.circle, stroke: tint, "stroke-width": 1.5,
      fill: open ? "var(--paper)" : tint }));
  return box;
}

// Symbols of plotly.js, 8 across, in the middle of a swatch.
const SHAPES = {
  circle: "M9.5 5a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z", square: "M10 2h6v6h-6z",
  diamond: "M13 1l4 4l-4 4l-4 -4z", "triangle-up": "M13 1.5l4 6.5h-8z", "triangle-down": "M13 8.5l4 -6.5h-8z",
  "triangle-left": "M9 5l6.5 -4v8z", "triangle-right": "M17 5l-6.5 -4v8z",
  cross: "M11.7 1h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z",
  x: "M10 2l3 3l-3 3M16 2l-3 3l3 3", pentagon: "M13 1l4 3l-1.5 4.5h-5l-1.5 -4.5z",
  hexagon: "M11 1.5h4l2 3.5l-2 3.5h-4l-2 -3.5z",
};

// Give the focus back to a control that was made anew.
function again(box, name) {
  const found = [...document.getElementById(box).children].find((one) => one.dataset.name === name);
  if (found) found.focus();
}

function filters() {
  const form = document.getElementById("filters");
  form.hidden = false;
  form.replaceChildren();
  if (!sections().includes(state.section)) state.section = sections()[0] ?? null;
  if (sections().length > 1) {
    form.append(element("fieldset", {}, element("legend", {}, "Model and data"),
      select("", sections().map((name) => [name, name]), state.section,
        (value) => { state.section = value; filters(); filtered(); })));
  }
  const groups = inSection();
  const looks = new Map(groups.map((group) => [group.label, group]));
  const seeds = distinct(groups.flatMap((group) => group.runs.map(([, seed]) => seed)));
  form.append(
    ...(scenarios().length > 1 ? [filter("Scenario", scenarios(), "scenarios", null)] : []),
    ...(seeds.length > 1 ? [filter("Seed", seeds.sort((a, b) => a - b), "seeds", null)] : []),
    filter("Method", [...looks.keys()], "labels", looks),
    element("p", { class: "hint" }, "Filters act on the charts."));
}

function filter(title, names, key, looks) {
  const chips = element("div", { class: looks || key === "scenarios" ? "chips list" : "chips" });
  for (const name of names) {
    chips.append(chip(String(name), !state[key].includes(name),
      () => { toggle(state[key], name); filtered(); }, looks && looks.get(name)));
  }
  const every = (on) => element("button", { type: "button", class: "plain", on: () => {
    state[key] = on ? [] : [...names];
    filters();
    filtered();
  } }, on ? "all" : "none");
  return element("fieldset", {}, element("legend", {}, title,
    element("span", {}, every(true), " ", every(false))), chips);
}

function filtered() {
  save();
  curves();
  frontier();
  displacement();
}

function themed() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const show = () => {
    const dark = state.theme ? state.theme === "dark" : system.matches;
    if (state.theme) document.documentElement.dataset.theme = state.theme;
    button.textContent = dark ? "Light" : "Dark";
    button.setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
    redraw();
    return dark;
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    state.theme = (state.theme ? state.theme === "dark" : system.matches) ? "light" : "dark";
    save();
    show();
  });
  system.addEventListener("change", show);
  show();
}

function everything() {
  leaderboards();
  filters();
  filtered();
  answers();
  questions();
}

// A live page asks its own server for a newer version and takes over its parts; choices stay.
let version = null;
async function look() {
  const told = document.getElementById("live");
  let response;
  try {
    response = await fetch("/", { cache: "no-cache" });
  } catch {
    told.textContent = "the server has stopped; this is the last state";
    return;
  }
  told.textContent = "live";
  if (response.headers.get("ETag") === version) return;
  const next = new DOMParser().parseFromString(await response.text(), "text/html");
  version = response.headers.get("ETag");
  const text = (page, id) => page.getElementById(id)?.textContent;
  if (text(next, "program") !== text(document, "program")) return location.reload();
  if (text(next, "data") === text(document, "data")) return;
  for (const part of document.querySelectorAll("[data-part]")) {
    const open = [...part.querySelectorAll("details")].map((one) => one.open);
    part.replaceChildren(...next.querySelector(`[data-part="${part.dataset.part}"]`).childNodes);
    part.querySelectorAll("details").forEach((one, at) => { one.open = Boolean(open[at]); });
  }
  for (const id of ["data", "texts"]) document.getElementById(id).textContent = text(next, id);
  written = null;
  data = JSON.parse(text(next, "data"));
  everything();
}

everything();
themed();
if (data.live) {
  look();
  setInterval(() => { if (!document.hidden) look(); }, 5000);
}
