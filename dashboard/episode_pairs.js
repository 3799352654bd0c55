// A figure of every episode in A (circle) and in B (diamond), joined; `data` comes from iomt_core/charts/forest.py.
export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".drawing");
  followWidth(root, "episodes", (width) => {
    const height = 300, top = 12, bottom = 46, left = besideAxis(data.ticks);
    const legend = html(root, "div", { className: "legend" });
    data.sides.forEach((side) => {
      const entry = html(legend, "span", {});
      pairMark(make(entry, "svg", { viewBox: "-8 -8 16 16", class: "sign", "aria-hidden": "true" }), side, 0, 0);
      html(entry, "span", {}, side.name);
    });
    const svg = make(root, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": data.text });
    const slot = (width - left - 12) / Math.max(1, data.episodes), x = (n) => left + (n + 0.5) * slot;
    const y = (value) => top + ((height - bottom - top) * (data.high - value)) / (data.high - data.low);
    valueAxis(svg, data.ticks, y, { left, width, height, top, bottom, title: data.axis, below: "episode" });
    const every = Math.max(1, Math.ceil(34 / slot));
    for (let n = 0; n < data.episodes; n += 1) {
      if (n % every === 0) make(svg, "text", { class: "tick", x: x(n), y: height - bottom + 17, "text-anchor": "middle" }, n + 1);
      const values = data.sides.map((side) => side.values[n]).filter((value) => value !== undefined);
      if (values.length > 1) make(svg, "line", { class: "join", x1: x(n), x2: x(n), y1: y(values[0]), y2: y(values[1]) });
    }
    data.sides.forEach((side) => side.values.forEach((value, n) => {
      make(pairMark(svg, side, x(n), y(value)), "title", {}, `episode ${n + 1}, ${side.name}: ${value} ${data.unit}`.trim());
    }));
  });
}

function pairMark(svg, side, x, y) {
  return side.diamond
    ? make(svg, "path", { d: `M${x},${y - 6} l6,6 l-6,6 l-6,-6 z`, fill: side.colour })
    : make(svg, "circle", { cx: x, cy: y, r: 5, fill: side.colour });
}
