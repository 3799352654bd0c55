// Relative changes with their intervals, one row a figure; `data` comes from iomt_core/charts/forest.py.
// What a row says is told by its mark's shape as well as its colour.
const MARKS = { better: "M0,-8 L8,0 L0,8 L-8,0 Z", worse: "M-7,-7 H7 V7 H-7 Z", other: "M0,-8 L8,6 L-8,6 Z", open: "M-6,0 a6,6 0 1,0 12,0 a6,6 0 1,0 -12,0 Z" };

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".drawing");
  root.replaceChildren();
  // Text keeps its size: the drawing is as wide as its place, and on a narrow one the numbers go below the names.
  const width = Math.max(420, root.clientWidth), narrow = width < 560, row = narrow ? 48 : 36, left = narrow ? 176 : 140, right = narrow ? 12 : 200;
  const top = 16, bottom = 50, height = top + row * data.rows.length + bottom;
  const inside = (value) => Math.min(data.high, Math.max(data.low, value));
  const x = (value) => left + ((width - left - right) * (inside(value) - data.low)) / (data.high - data.low);
  const svg = make(root, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": data.text });
  data.ticks.forEach((tick) => {
    make(svg, "line", { class: tick ? "grid" : "zero", x1: x(tick), x2: x(tick), y1: top - 8, y2: height - bottom + 4 });
    make(svg, "text", { class: "tick", x: x(tick), y: height - bottom + 20, "text-anchor": "middle" }, tick > 0 ? `+${tick}` : tick);
  });
  make(svg, "text", { class: "tick", x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, narrow ? data.axis_short : data.axis);
  data.rows.forEach((entry, n) => {
    const y = top + n * row + row / 2 - (narrow ? 10 : 4);
    make(svg, "text", { class: "label", x: left - 12, y: y + 5, "text-anchor": "end" }, entry.label);
    make(svg, "text", { class: narrow ? "value tick" : "value", y: narrow ? y + 22 : y + 5, x: narrow ? left - 12 : width - right + 14,
      "text-anchor": narrow ? "end" : "start" }, entry.text);
    if (entry.at === null) return;
    const group = make(svg, "g", { class: `change ${entry.kind}` });
    make(group, "title", {}, `${entry.label}: ${entry.text}`);
    if (entry.ends) {
      const [low, high] = entry.ends;
      make(group, "line", { x1: x(low), x2: x(high), y1: y, y2: y });
      entry.ends.forEach((end) => { if (end === inside(end)) make(group, "line", { x1: x(end), x2: x(end), y1: y - 6, y2: y + 6 }); });
    }
    if (entry.at === inside(entry.at)) make(group, "path", { d: MARKS[entry.kind], transform: `translate(${x(entry.at)} ${y})` });
    else make(group, "text", { class: "off", x: x(entry.at), y: y + 6, "text-anchor": entry.at > 0 ? "end" : "start" }, entry.at > 0 ? "▶" : "◀");
  });
  const legend = html(root, "div", { className: "legend" });
  Object.entries(data.verdicts).forEach(([kind, words]) => {
    const box = html(legend, "span", {});
    const sign = make(box, "svg", { class: "sign", viewBox: "-10 -10 20 20", "aria-hidden": "true" });
    make(make(sign, "g", { class: `change ${kind}` }), "path", { d: MARKS[kind] });
    html(box, "span", {}, words);
  });
  saveButton(root, "differences");
}
