// How a measure of the held-out pairs depends on how near the two responses are, and on length.
const CUTS = [["edit_distance", "by edit distance of the pair", "0: the same, 1: nothing alike"],
  ["length", "by tokens of the chosen response", ""]];

function displacement() {
  const box = document.getElementById("displacement-charts");
  const choice = document.getElementById("displacement-choice");
  const { measures, groups } = data.displacement;
  choice.replaceChildren();
  if (!Object.keys(groups).length) return;
  choice.append(element("div", { class: "choice" },
    select("Measure", Object.entries(measures), state.measure,
      (value) => { state.measure = value; save(); redraw(); })));
  fill(box, "displacement", shownScenarios().length > 1 ? 1 : 2, () => {
    for (const [cut, caption, note] of CUTS) chart(box, caption, note, () => bucketFigure(cut));
  });
}

function bucketFigure(cut) {
  const places = shownScenarios();
  const shown = shownGroups().filter((group) => data.displacement.groups[group.id]);
  const traces = shown.map((group, at) => {
    const parts = data.displacement.groups[group.id][cut].filter(([, , found]) => found[state.measure]);
    const ends = parts.map(([, , found]) => found[state.measure]);
    const told = parts.map(([, count]) => `${plain(group.label)}, ${count} responses`);
    return { ...axesOf(places.indexOf(group.scenario)), mode: "lines+markers",
      x: parts.map(([name]) => name), y: ends.map(([mean]) => mean), text: told,
      line: { color: group.colour, dash: group.dash, width: 1.6 },
      marker: { color: group.colour, symbol: group.symbol, size: 7 },
      error_y: { type: "data", symmetric: false, color: group.colour, thickness: 1, width: 2,
        array: ends.map(([mean, , high]) => (high === null ? 0 : high - mean)),
        arrayminus: ends.map(([mean, low]) => (low === null ? 0 : mean - low)) },
      hovertemplate: "%{text}<br>%{x}: %{y:.4g}<extra></extra>" };
  });
  const layout = panels(places);
  for (const key of Object.keys(layout)) {
    if (key.startsWith("xaxis")) Object.assign(layout[key], { type: "category",
      categoryorder: "array", categoryarray: bucketNames(cut) });
  }
  return { traces, layout };
}

// In their own order, whatever groups lack.
function bucketNames(cut) {
  const names = Object.values(data.displacement.groups).flatMap((group) => group[cut].map(([name]) => name));
  return distinct(names).sort((a, b) => parseFloat(a.replace("over ", "")) - parseFloat(b.replace("over ", "")));
}
