// One chart per metric, one panel per scenario with the same vertical scale; seeds thin, mean thick.
const USUAL = ["reward/margin", "drift/chosen", "drift/rejected", "loss", "kl/mismatched", "grad/norm"];

function curveNames() {
  return Object.keys(data.curves.metrics);
}

function curves() {
  const names = curveNames();
  if (state.hiddenCurves === null) {
    state.hiddenCurves = names.filter((name) => !USUAL.includes(name));
  }
  const box = document.getElementById("curves-charts");
  const choice = document.getElementById("curves-choice");
  const lead = document.getElementById("curves-lead");
  choice.replaceChildren();
  if (!names.length) {
    box.replaceChildren();
    delete box.dataset.key;
    lead.textContent = "No run has logged a step yet.";
    return;
  }
  lead.textContent = "Thin lines are seeds, thick ones their mean, as far as all of them have come. " +
    "Drag to zoom, double-click to go back. Steps on the horizontal axis." +
    (data.curves.cut ? ` Of longer curves ${data.curves.points} measured steps are drawn, chosen so ` +
      "that peaks stay visible; no value is averaged." : "");
  const across = shownScenarios().length > 1 ? 1 : 2;
  const order = [...USUAL.filter((name) => names.includes(name)),
    ...names.filter((name) => !USUAL.includes(name))];
  const shown = order.filter((one) => !state.hiddenCurves.includes(one));
  choice.append(curveChoice(order, shown));
  fill(box, shown, across, () => {
    for (const name of shown) chart(box, name, "", () => curveFigure(name));
  });
}

function curveChoice(names, shown) {
  const chips = element("div", { class: "chips" });
  for (const name of names) {
    chips.append(chip(name, !state.hiddenCurves.includes(name), () => {
      toggle(state.hiddenCurves, name);
      save();
      curves();
      again(chips.id, name);
    }));
  }
  chips.id = "curve-names";
  const which = element("details", { open: state.choosing },
    element("summary", {}, `Curves: ${shown.length} of ${names.length}`), chips);
  which.addEventListener("toggle", () => { state.choosing = which.open; save(); });
  return element("div", { class: "choice" }, which,
    select("Smooth", [["0", "not at all"], ["5", "5 points"], ["15", "15 points"]], String(state.steady),
      (value) => { state.steady = Number(value); save(); redraw(); }),
    chip("seeds", state.seedLines, (pressed) => { state.seedLines = pressed; save(); redraw(); }));
}

// A centred moving mean over points; gaps stay gaps.
function steady(values) {
  if (!state.steady) return values;
  const reach = Math.floor(state.steady / 2);
  return values.map((value, at) => {
    if (value === null) return null;
    const near = values.slice(Math.max(0, at - reach), at + reach + 1).filter((one) => one !== null);
    return near.reduce((sum, one) => sum + one, 0) / near.length;
  });
}

function meanOf(rows) {
  return rows[0].map((_, at) => {
    const values = rows.map((row) => row[at]);
    return values.includes(null) ? null : values.reduce((sum, one) => sum + one, 0) / values.length;
  });
}

function curveFigure(name) {
  const places = shownScenarios();
  const traces = [];
  for (const group of shownGroups()) {
    const found = (data.curves.metrics[name] || {})[group.id];
    if (!found) continue;
    const x = data.curves.steps[found[0]];
    const axes = axesOf(places.indexOf(group.scenario));
    const runs = shownRuns(group).filter(([run]) => found[1][run]);
    if (!runs.length) continue;
    const rows = runs.map(([run]) => steady(found[1][run]));
    const line = { color: group.colour, dash: group.dash };
    if (state.seedLines && runs.length > 1) {
      rows.forEach((y, at) => traces.push({ x, y, ...axes, mode: "lines", line: { ...line, width: 1 },
        opacity: 0.3, connectgaps: true,
        hovertemplate: `${plain(group.label)}, seed ${runs[at][1]}<br>step %{x}: %{y:.4g}<extra></extra>` }));
    }
    const who = runs.length > 1 ? `mean of ${runs.length} seeds` : `seed ${runs[0][1]}`;
    traces.push({ x, y: runs.length > 1 ? meanOf(rows) : rows[0], ...axes, mode: "lines",
      line: { ...line, width: 2.2 }, connectgaps: true,
      hovertemplate: `${plain(group.label)}, ${who}<br>step %{x}: %{y:.4g}<extra></extra>` });
  }
  return { traces, layout: scaled(panels(places), traces) };
}

// Methods whose losses differ by orders of magnitude share a chart: then its scale is logarithmic.
function scaled(layout, traces) {
  const values = traces.flatMap((trace) => trace.y).filter((value) => value !== null);
  const [low, high] = values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, 0]);
  if (low > 0 && high / low > 100) {
    for (const key of Object.keys(layout)) {
      if (key.startsWith("yaxis")) layout[key].type = "log";
    }
    layout.yaxis.title = { text: "log scale", font: { size: 11 }, standoff: 4 };
  }
  return layout;
}

function axesOf(at) {
  return { xaxis: at ? `x${at + 1}` : "x", yaxis: at ? `y${at + 1}` : "y" };
}

// Panels side by side that share their vertical scale; each is headed by its scenario.
function panels(places) {
  const layout = { annotations: [], margin: { l: 46, r: 10, t: places.length > 1 ? 24 : 8, b: 34 } };
  const gap = 0.02, width = (1 - gap * (places.length - 1)) / places.length;
  places.forEach((place, at) => {
    const suffix = at ? String(at + 1) : "";
    const left = at * (width + gap);
    layout["xaxis" + suffix] = { domain: [left, left + width], anchor: "y" + suffix };
    layout["yaxis" + suffix] = { anchor: "x" + suffix, matches: at ? "y" : undefined,
      showticklabels: !at };
    if (places.length > 1) {
      layout.annotations.push({ text: plain(place), x: left, y: 1, xref: "paper", yref: "paper",
        xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: 12 } });
    }
  });
  return layout;
}
