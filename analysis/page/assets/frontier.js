// Every finished run a point, every group a cross: its mean and interval on both axes.
function frontier() {
  const { names, axes, units } = data.results;
  const box = document.getElementById("frontier-charts");
  const choice = document.getElementById("frontier-choice");
  const lead = document.getElementById("frontier-lead");
  choice.replaceChildren();
  if (!names.length) {
    box.replaceChildren();
    delete box.dataset.key;
    lead.textContent = "No run has finished yet.";
    return;
  }
  if (!names.includes(state.x)) state.x = axes[0];
  if (!names.includes(state.y)) state.y = axes[1];
  lead.textContent = `Small points are runs; a large one is the mean of a group with its ` +
    `${100 * data.level} % interval on both axes, as in the leaderboard (none for a single seed). ` +
    "An open diamond at KL 0 is the start model.";
  const options = names.map((name) => [name, units[name] ? `${name} (${units[name]})` : name]);
  const choose = (key) => (value) => { state[key] = value; save(); redraw(); };
  choice.append(element("div", { class: "choice" },
    select("Vertical", options, state.y, choose("y")),
    select("Horizontal", options, state.x, choose("x")),
    chip("intervals", state.intervals, (on) => { state.intervals = on; save(); redraw(); })));
  box.style.setProperty("--height", "380px");
  fill(box, "frontier", 1, () => chart(box, "", "", frontierFigure));
}

function frontierFigure() {
  const places = shownScenarios();
  const traces = [];
  for (const group of shownGroups()) {
    const axes = axesOf(places.indexOf(group.scenario));
    const symbol = group.symbol;
    const points = shownRuns(group)
      .map(([run, seed]) => [data.results.runs[run], run, seed])
      .filter(([found]) => found && state.x in found && state.y in found);
    traces.push({ ...axes, mode: "markers", x: points.map(([found]) => found[state.x]),
      y: points.map(([found]) => found[state.y]), opacity: 0.45,
      marker: { color: group.colour, size: 6, symbol },
      text: points.map(([, run, seed]) => `${plain(group.label)}, seed ${seed} (${run})`),
      hovertemplate: "%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>" });
    const found = data.results.groups[group.id];
    if (!found || !found[state.x] || !found[state.y]) continue;
    const few = shownGroups().filter((other) => other.scenario === group.scenario).length <= 8;
    traces.push({ ...axes, mode: few ? "markers+text" : "markers", text: [plain(group.label)],
      textposition: "top right", textfont: { size: 11, color: colour("ink") },
      x: [found[state.x][0]], y: [found[state.y][0]],
      error_x: bar(found[state.x], group.colour), error_y: bar(found[state.y], group.colour),
      marker: { color: group.colour, size: 12, symbol, line: { color: colour("card"), width: 1.5 } },
      hovertemplate: `${plain(group.label)}: mean<br>%{x:.4g}, %{y:.4g}<extra></extra>` });
  }
  return { traces: [...traces, ...startModels(places)], layout: frontierLayout(places) };
}

function bar([mean, low, high], tint) {
  if (low === null || !state.intervals) return { visible: false };
  return { type: "data", symmetric: false, array: [high - mean], arrayminus: [mean - low],
    color: tint + "80", thickness: 1.2, width: 3 };
}

// A start model is at KL 0 from itself, whatever was measured of it on the vertical axis.
function startModels(places) {
  if (state.x !== "kl/reference") return [];
  return places.map((place, at) => {
    const values = distinct(inSection().filter((group) => group.scenario === place)
      .flatMap((group) => (data.results.starts[group.id] || {})[state.y] || []));
    return { ...axesOf(at), mode: "markers", x: values.map(() => 0), y: values,
      marker: { symbol: "diamond-open", size: 10, color: colour("soft") },
      hovertemplate: "start model<br>%{y:.4g}<extra></extra>" };
  });
}

function frontierLayout(places) {
  const layout = panels(places);
  const title = (name) => ({ text: data.results.units[name] ? `${name} (${data.results.units[name]})` : name,
    font: { size: 12 }, standoff: 8 });
  for (const key of Object.keys(layout)) {
    if (key.startsWith("xaxis")) layout[key].title = title(state.x);
    if (key === "yaxis") layout[key].title = title(state.y);
  }
  return { ...layout, margin: { ...layout.margin, l: 56, b: 48 } };
}
