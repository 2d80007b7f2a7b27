// The plotting library is inflated once, when the first chart comes near the screen; each chart is
// drawn when it comes near, and again when it is stale and near.
let library = null;
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const chart = charts.get(entry.target);
    if (chart) { chart.near = entry.isIntersecting; refresh(entry.target, chart); }
  }
}, { rootMargin: "300px" });
const charts = new Map();

async function inflated() {
  const script = document.createElement("script");
  script.textContent = await unzipped("library");
  document.head.append(script);  // runs at once: the page's policy names its hash
  return window.Plotly;
}

// A figure with a caption. `make()` gives traces and layout, from data and state as they are then.
function chart(box, caption, note, make) {
  const plot = element("div", { class: "plot" });
  box.append(element("figure", { class: "chart" },
    element("figcaption", {}, caption, element("small", {}, note)), plot));
  charts.set(plot, { make, near: false, stale: true });
  watcher.observe(plot);
}

async function refresh(plot, one) {
  if (!one.near || !one.stale) return;
  one.stale = false;
  library = library || inflated();
  const plotly = await library;
  if (!plot.isConnected) return;
  const { traces, layout } = one.make();
  await plotly.react(plot, traces, dressed(layout),
    { displayModeBar: false, responsive: true, doubleClick: "reset" });
}

// All charts, once before the next picture however often it is asked for.
let planned = false;
function redraw() {
  for (const one of charts.values()) one.stale = true;
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    for (const [plot, one] of charts) refresh(plot, one);
  });
}

// Charts are made anew only where `key` tells that other ones are wanted; else drawn again.
function fill(box, key, across, make) {
  const wanted = JSON.stringify([key, across]);
  if (box.dataset.key === wanted) return redraw();
  box.dataset.key = wanted;
  box.style.setProperty("--across", across);
  box.replaceChildren();
  make();
  for (const plot of charts.keys()) {
    if (!plot.isConnected) {
      watcher.unobserve(plot);
      charts.delete(plot);
    }
  }
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';

function dressed(layout) {
  const axis = { gridcolor: colour("grid"), zerolinecolor: colour("line"), linecolor: colour("line"),
    tickfont: { size: 11 }, automargin: true, zeroline: true, fixedrange: false };
  const full = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    font: { family: FONT, size: 12, color: colour("soft") }, hovermode: "closest",
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"),
      font: { family: FONT, size: 12, color: colour("ink") } },
    ...layout };
  for (const key of Object.keys(full)) {
    if (/^[xy]axis/.test(key)) full[key] = { ...axis, ...full[key] };
  }
  return full;
}

// Plotly reads a few tags in labels; names from records are shown as they are.
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
