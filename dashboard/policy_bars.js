// Policies side by side with the certified bound as a line; `data` comes from iomt_core/charts/comparison.py.
export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".drawing");
  root.replaceChildren();
  const longest = Math.max(...data.rows.map((entry) => entry.label.length));  // characters, which left is wide enough for
  const left = Math.min(290, Math.max(150, 24 + 7.8 * longest));
  const row = 34, width = 620, top = 44, height = top + row * data.rows.length + 46;
  const x = (value) => left + ((width - left - 8) * Math.min(value, data.end)) / data.end;
  html(root, "div", { className: "title" }, "Cost of every policy, and the bound");
  const svg = make(root, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": data.text });
  data.ticks.forEach((tick) => {
    make(svg, "line", { class: "grid", x1: x(tick), x2: x(tick), y1: top - 6, y2: height - 40 });
    make(svg, "text", { class: "tick", x: x(tick), y: height - 22, "text-anchor": "middle" }, tick);
  });
  make(svg, "text", { class: "tick", x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, data.axis);
  data.rows.forEach((entry, n) => {
    const y = top + n * row, end = x(entry.value);
    make(svg, "text", { class: entry.selected ? "label strong" : "label", x: left - 10, y: y + 18, "text-anchor": "end" }, entry.label);
    const bar = make(svg, "rect", { class: entry.selected ? "bar chosen" : "bar", x: left, y: y + 2, width: Math.max(1, end - left), height: row - 10 });
    make(bar, "title", {}, `${entry.label}: cost ${entry.value}`);
    const inside = end > (left + width) / 2;
    make(svg, "text", { class: !inside ? "value" : entry.selected ? "value on" : "value in", x: inside ? end - 8 : end + 12, y: y + 18,
      "text-anchor": inside ? "end" : "start" }, entry.text);
    if (entry.pinned !== null) {
      const at = x(entry.pinned), middle = y + row / 2 - 3;
      const mark = make(svg, "path", { class: "pinned", d: `M${at},${middle - 9} l7,9 l-7,9 l-7,-9 z` });
      make(mark, "title", {}, `${entry.label}, pinned: cost ${entry.pinned}`);
    }
  });
  make(svg, "line", { class: "bound", x1: x(data.bound), x2: x(data.bound), y1: top - 8, y2: height - 40 });
  make(svg, "text", { class: "bound-label", x: x(data.bound), y: top - 16, "text-anchor": "middle" }, data.bound_text);
  if (data.rows.some((entry) => entry.pinned !== null)) {
    make(svg, "path", { class: "pinned", d: "M" + (width - 90) + ",14 l7,9 l-7,9 l-7,-9 z" });
    make(svg, "text", { class: "tick", x: width - 76, y: 28 }, "pinned");
  }
  saveButton(root, "policies");
}
