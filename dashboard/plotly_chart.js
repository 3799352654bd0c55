// Draws a Plotly figure in place, with its title above it and buttons that save it. `data` comes from plotly_chart.py.
// The ward's player and all charts with a step line share the present step through two events on the document.
const SHOWN = "iomt-step-shown", WANTED = "iomt-step-wanted";
const PAPER = 700; // px, width of a printed page
const CONFIG = { displaylogo: false, doubleClick: "reset", showTips: false, modeBarButtons: [["pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] };

function load(bundle) {
  window.plotlyBundle ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = bundle;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { window.plotlyBundle = undefined; reject(new Error("bundle")); };
    document.head.append(script);
  });
  return window.plotlyBundle;
}

// Titles and names in a figure are escaped for Plotly.
const unescape = (text) => new DOMParser().parseFromString(text ?? "", "text/html").documentElement.textContent;

function build(root) {
  const part = (name) => root.querySelector(`.chart-${name}`);
  const view = { root, title: part("title"), subtitle: part("subtitle"), plot: part("plot"), buttons: [...part("save").children] };
  view.buttons.forEach((button) => { button.onclick = () => download(view, button.textContent.toLowerCase()); });
  view.redraw = () => draw(view);
  view.follow = (event) => follow(view, event.detail);
  view.sizes = new ResizeObserver(() => { if (view.drawn && view.plot.clientWidth !== view.width) view.redraw(); });
  view.sizes.observe(view.plot);
  view.themes = matchMedia("(prefers-color-scheme: dark)");
  view.themes.addEventListener("change", view.redraw);
  document.addEventListener(SHOWN, view.follow);
  view.wanted = ({ detail }) => { if (view.figure.layout.meta.now) view.send("point", ["step", detail]); }; // a map without a player
  document.addEventListener(WANTED, view.wanted);
  view.print = () => { if (view.drawn) window.Plotly.relayout(view.plot, { width: PAPER }); };
  addEventListener("beforeprint", view.print);
  addEventListener("afterprint", view.redraw);
  return view;
}

function isDark(root) {
  const probe = root.appendChild(document.createElement("i"));
  probe.style.color = "var(--st-background-color)";
  const [red, green, blue] = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
  probe.remove();
  return 0.3 * red + 0.6 * green + 0.1 * blue < 128;
}

function follow(view, step) {
  if (!view.drawn || !view.figure.layout.meta.step || view.step === step) return;
  view.step = step;
  window.Plotly.relayout(view.plot, { "shapes[0].x0": step, "shapes[0].x1": step });
}

async function draw(view) {
  const { title, ...layout } = view.figure.layout;
  layout.width = view.width = view.plot.clientWidth;
  if (!view.width) return; // a closed tab or expander; drawn when it opens
  if (isDark(view.root)) layout.template = view.dark;
  if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false; // a finger scrolls the page
  view.layout = layout;
  const first = !view.drawn;
  view.drawn = true;
  await window.Plotly.react(view.plot, view.figure.data, layout, CONFIG);
  if (first) view.plot.on("plotly_click", ({ points }) => click(view, points[0]));
  if (layout.meta.step) {
    view.step = undefined;
    follow(view, Number(document.body.dataset.step) || layout.shapes[0].x0);
  }
}

function click(view, point) {
  if (view.figure.layout.meta.step) document.dispatchEvent(new CustomEvent(WANTED, { detail: Math.round(point.x) }));
  else if (view.clicks && point.customdata !== undefined) view.send("point", point.customdata);
}

async function download(view, kind) {
  const name = `${view.title.textContent} ${view.subtitle.textContent}`.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 100);
  const link = document.createElement("a");
  link.download = `${name || "chart"}.${kind}`;
  link.href = kind === "csv" ? URL.createObjectURL(new Blob([table(view)], { type: "text/csv" })) : await picture(view, kind);
  link.click();
  if (kind === "csv") setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// The picture carries title and subtitle, in lines that fit, and the page's background.
function picture(view, format) {
  const most = Math.floor(view.width / 8), lines = [[], []];
  [view.title, view.subtitle].forEach((words, n) => words.textContent.split(" ").forEach((word) => {
    const last = lines[n].at(-1);
    if (last !== undefined && last.length + word.length < most) lines[n][lines[n].length - 1] = `${last} ${word}`;
    else lines[n].push(word);
  }));
  const safe = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
  const room = 19 * lines.flat().length + 14, margin = { ...view.layout.margin }, base = view.layout.template.layout;
  margin.t = (margin.t ?? base.margin.t) + room;
  const height = (view.layout.height ?? base.height) + room;
  const text = [...lines[0].map((line) => `<b>${safe(line)}</b>`), ...lines[1].map(safe)].join("<br>");
  const title = { text, x: 0, xref: "paper", y: 1 - 20 / height, yref: "container", yanchor: "top", font: { size: 14 } };
  const paper = getComputedStyle(view.root).getPropertyValue("--st-background-color").trim() || "#fff";
  const layout = { ...view.layout, title, margin, height, paper_bgcolor: paper };
  return window.Plotly.toImage({ data: view.plot.data, layout }, { format, width: view.width, height, scale: format === "png" ? 2 : 1 });
}

// One row a point, or a cell of a heat map.
function table({ plot, figure }) {
  const { layout } = figure, axis = (name, other) => unescape(layout[name]?.title?.text) || other, rows = [["series", axis("xaxis", "x"), axis("yaxis", "y"), "value"]];
  plot.data.filter((trace) => trace.showlegend !== false || trace.name || trace.z).forEach((trace) => {
    const name = unescape(trace.name), { x = [], y = [] } = trace, z = trace.meta?.values ?? trace.z; // colours may show something else
    if (z) z.forEach((line, i) => line.forEach((value, j) => rows.push([name, unescape(String(x[j] ?? j)), unescape(String(y[i] ?? i)), value])));
    else (trace.x ?? trace.y ?? []).forEach((_, n) => rows.push([name, x[n], y[n], ""]));
  });
  const cell = (value) => (value = String(value ?? ""), /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  return rows.map((row) => row.map(cell).join(",")).join("\n");
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".chart"), view = root.view ?? (root.view = build(root));
  Object.assign(view, { figure: JSON.parse(data.figure), dark: data.dark, clicks: data.clicks, send: setTriggerValue });
  const { layout } = view.figure, { title, meta } = layout;
  view.title.textContent = unescape(title.text);
  view.subtitle.textContent = unescape(title.subtitle.text);
  if (meta.now) { document.body.dataset.step = meta.now; document.dispatchEvent(new CustomEvent(SHOWN, { detail: meta.now })); }
  view.buttons.forEach((button) => button.setAttribute("aria-label", `Download ${button.textContent}: ${view.title.textContent}`));
  view.plot.setAttribute("role", "figure"); // not an image: it has buttons
  view.plot.setAttribute("aria-label", meta.alt);
  view.plot.style.minHeight = `${layout.height ?? layout.template.layout.height}px`;
  clearInterval(view.again); // asked again until an answer comes: of several charts' questions at one time some get none
  if (data.pending) view.again = setInterval(() => setTriggerValue("more", Date.now()), 250);
  load(data.bundle).then(view.redraw, () => { view.plot.textContent = "The chart could not be loaded. Check the connection and reload the page."; });
  return () => {
    clearInterval(view.again);
    if (parentElement.isConnected) return;
    view.sizes.disconnect();
    view.themes.removeEventListener("change", view.redraw);
    document.removeEventListener(SHOWN, view.follow);
    document.removeEventListener(WANTED, view.wanted);
    removeEventListener("beforeprint", view.print);
    removeEventListener("afterprint", view.redraw);
    if (view.drawn) window.Plotly.purge(view.plot);
  };
}
