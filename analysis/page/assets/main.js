// A button that is on or off.
function chip(name, pressed, choose, tint) {
  const made = element("button", { type: "button", class: "chip", "aria-pressed": String(pressed),
    "data-name": name });
  if (tint) {
    const swatch = element("span", { class: "swatch" });
    swatch.style.setProperty("color", tint);
    made.append(swatch);
  }
  made.append(element("span", { class: "name" }, name));
  made.addEventListener("click", () => {
    const now = made.getAttribute("aria-pressed") !== "true";
    made.setAttribute("aria-pressed", String(now));
    choose(now);
  });
  return made;
}

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
  const tints = new Map(groups.map((group) => [group.label, group.colour]));
  const seeds = distinct(groups.flatMap((group) => group.runs.map(([, seed]) => seed)));
  form.append(
    filter("Scenario", scenarios(), "scenarios", null),
    filter("Seed", seeds.sort((a, b) => a - b), "seeds", null),
    filter("Method", [...tints.keys()].sort((a, b) => a.localeCompare(b, "en", { numeric: true })),
      "labels", tints));
}

function filter(title, names, key, tints) {
  const chips = element("div", { class: tints || key === "scenarios" ? "chips list" : "chips" });
  for (const name of names) {
    chips.append(chip(String(name), !state[key].includes(name),
      () => { toggle(state[key], name); filtered(); }, tints && tints.get(name)));
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
  document.getElementById("data").textContent = text(next, "data");
  data = JSON.parse(text(next, "data"));
  everything();
}

everything();
themed();
if (data.live) {
  look();
  setInterval(() => { if (!document.hidden) look(); }, 5000);
}
