// Grouped bars, panels beside one another as far as there is room; `data` comes from iomt_core/charts/bars.py.
function barPanel(parent, panel, width, height) {
  const slots = Math.max(1, panel.groups.length), left = 58, top = 14, room = width - left - 6, slot = room / slots;
  const longest = Math.max(0, ...panel.groups.map((name) => name.length));
  const tilted = longest * 7.2 > slot, bottom = 30 + (tilted ? Math.min(110, 12 + longest * 4.6) : 18);
  const words = panel.series.flat().map((bar) => bar.text).join("; ");
  const svg = make(parent, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${panel.axis}. ${words}` });
  svg.style.width = `${width}px`;
  const hatch = make(make(svg, "defs", {}), "pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  make(hatch, "line", { class: "hatch", x1: 0, x2: 0, y1: 0, y2: 6 });
  const y = (value) => top + ((height - bottom - top) * (panel.high - value)) / (panel.high - panel.low);
  panel.ticks.forEach((tick) => {
    make(svg, "line", { class: tick === 0 ? "zero" : "grid", x1: left, x2: width, y1: y(tick), y2: y(tick) });
    make(svg, "text", { class: "tick", x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, tick);
  });
  make(svg, "text", { class: "tick", transform: `translate(13 ${(height - bottom + top) / 2}) rotate(-90)`, "text-anchor": "middle" }, panel.axis);
  make(svg, "text", { class: "tick", x: left + room / 2, y: height - 6, "text-anchor": "middle" }, panel.below);
  const thick = Math.min(60, (slot * 0.86) / Math.max(1, panel.series.length));
  panel.groups.forEach((name, n) => {
    const middle = left + (n + 0.5) * slot, end = height - bottom + 16;
    if (tilted) make(svg, "text", { class: "tick small", transform: `translate(${middle + 4} ${end - 4}) rotate(-40)`, "text-anchor": "end" }, name);
    else make(svg, "text", { class: "tick", x: middle, y: end, "text-anchor": "middle" }, name);
    panel.series.forEach((bars, k) => {
      const bar = bars[n];
      if (bar.value === null) return;
      const from = y(Math.max(0, Math.min(panel.high, bar.value))), to = y(Math.max(panel.low, Math.min(0, bar.value)));
      const box = { x: middle + (k - panel.series.length / 2) * thick + 0.5, y: from, width: Math.max(1, thick - 1), height: Math.max(0.5, to - from) };
      const group = make(svg, "g", { class: bar.marked ? "column marked" : "column" });
      make(group, "title", {}, bar.text);
      make(group, "rect", { class: "hit", ...box, y: top, height: height - bottom - top });
      make(group, "rect", { class: "body", ...box, fill: bar.colour });
      if (bar.hatched) make(group, "rect", { ...box, fill: "url(#hatch)" });
      if (bar.shown) make(group, "text", { class: "tick", x: box.x + box.width / 2, y: bar.value < 0 ? to + 14 : from - 4, "text-anchor": "middle" }, bar.shown);
    });
  });
}

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".drawing");
  followWidth(root, (width) => {
    root.replaceChildren();
    const gap = 16, row = html(root, "div", { className: "panels" });
    const beside = Math.max(1, Math.min(data.panels.length, Math.floor((width + gap) / (200 + gap))));
    data.panels.forEach((panel) => barPanel(row, panel, Math.floor((width - gap * (beside - 1)) / beside), 260));
  });
}
