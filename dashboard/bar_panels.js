// Grouped bars, panels beside one another as far as there is room; `data` comes from iomt_core/charts/bars.py.
const HEIGHT = 260, GAP = 16; // pixels: of a panel, and between two

function barPanel(parent, panel, about, width, number) {
  const slots = Math.max(1, panel.groups.length), names = panel.groups.map((name) => short(name, 20));
  const left = besideAxis(panel.ticks), top = 14, slot = (width - left - 6) / slots, longest = Math.max(0, ...names.map((name) => name.length));
  const tilted = longest * LETTER > slot, bottom = 30 + (tilted ? 12 + longest * 4.6 : 18) + (panel.low < 0 ? 12 : 0);
  const words = panel.series.flat().map((bar) => bar.text).join("; ");
  const svg = make(parent, "svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${about}${panel.axis}. ${words}` });
  svg.style.width = `${width}px`;
  const id = `hatch-${number}`;
  const hatch = make(make(svg, "defs", {}), "pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  make(hatch, "line", { class: "hatch", x1: 0, x2: 0, y1: 0, y2: 6 });
  const y = (value) => top + ((HEIGHT - bottom - top) * (panel.high - value)) / (panel.high - panel.low);
  valueAxis(svg, panel.ticks, y, { left, width, height: HEIGHT, top, bottom, title: panel.axis, below: panel.below, zero: true });
  const thick = Math.min(60, (slot * 0.86) / Math.max(1, panel.series.length));
  names.forEach((name, n) => {
    const middle = left + (n + 0.5) * slot, end = HEIGHT - bottom + (panel.low < 0 ? 28 : 16);
    if (tilted) make(svg, "text", { class: "tick small", transform: `translate(${middle + 4} ${end - 4}) rotate(-40)`, "text-anchor": "end" }, name);
    else make(svg, "text", { class: "tick", x: middle, y: end, "text-anchor": "middle" }, name);
    panel.series.forEach((bars, k) => {
      const bar = bars[n];
      if (bar.value === null) return;
      const from = y(Math.max(0, Math.min(panel.high, bar.value))), to = y(Math.max(panel.low, Math.min(0, bar.value)));
      const box = { x: middle + (k - panel.series.length / 2) * thick + 0.5, y: from, width: Math.max(1, thick - 1), height: Math.max(0.5, to - from) };
      const group = make(svg, "g", { class: bar.marked ? "column marked" : "column" });
      make(group, "title", {}, bar.text);
      make(group, "rect", { class: "hit", ...box, y: top, height: HEIGHT - bottom - top });
      make(group, "rect", { class: "body", ...box, fill: bar.colour });
      if (bar.hatched) make(group, "rect", { ...box, fill: `url(#${id})` });
      const label = { class: "tick", x: box.x + box.width / 2, y: bar.value < 0 ? to + 13 : from - 4, "text-anchor": "middle" };
      if (bar.shown && bar.shown.length * LETTER < slot) make(group, "text", label, bar.shown);
    });
  });
}

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".drawing");
  followWidth(root, data.file, (width) => {
    if (!data.panels.length) {
      html(root, "div", { className: "note" }, "There is nothing to show here.");
      return;
    }
    const least = Math.max(200, ...data.panels.map((panel) => 50 + 6.4 * panel.below.length));
    const beside = Math.max(1, Math.min(data.panels.length, Math.floor((width + GAP) / (least + GAP))));
    const row = html(root, "div", { className: "panels" }), each = Math.floor((width - GAP * (beside - 1)) / beside);
    data.panels.forEach((panel, n) => barPanel(row, panel, data.about ? `${data.about}: ` : "", each, n));
  });
}
