// A density as a filled curve, with one value marked; `data` comes from iomt_core/charts/fading.py.
export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".drawing");
  followWidth(root, (width) => {
    root.replaceChildren();
    const y_ticks = data.y_ticks.map(plainNumber), left = 30 + 7.2 * Math.max(3, ...y_ticks.map((tick) => tick.length));
    const height = 270, top = 12, bottom = 46;
    html(root, "div", { className: "title" }, data.title);
    html(root, "div", { className: "note" }, data.mark_text);
    const svg = make(root, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": data.text });
    const x = (value) => left + ((width - left - 12) * (value - data.x[0])) / (data.x.at(-1) - data.x[0]);
    const y = (value) => height - bottom - ((height - bottom - top) * value) / data.high;
    data.y_ticks.forEach((tick, n) => {
      make(svg, "line", { class: tick === 0 ? "zero" : "grid", x1: left, x2: width, y1: y(tick), y2: y(tick) });
      make(svg, "text", { class: "tick", x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, y_ticks[n]);
    });
    data.x_ticks.forEach((tick) => {
      make(svg, "text", { class: "tick", x: x(tick), y: height - bottom + 17, "text-anchor": "middle" }, plainNumber(tick));
    });
    make(svg, "text", { class: "tick", transform: `translate(13 ${(height - bottom + top) / 2}) rotate(-90)`, "text-anchor": "middle" }, data.y_axis);
    make(svg, "text", { class: "tick", x: (left + width) / 2, y: height - 6, "text-anchor": "middle" }, data.x_axis);
    const line = data.x.map((value, n) => `${x(value).toFixed(1)},${y(data.y[n]).toFixed(1)}`).join(" L");
    make(svg, "path", { class: "area", d: `M${x(data.x[0])},${y(0)} L${line} L${x(data.x.at(-1))},${y(0)} Z` });
    make(svg, "path", { class: "curve", d: `M${line}` });
    const at = x(data.mark);
    make(svg, "line", { class: "mean", x1: at, x2: at, y1: top - 4, y2: y(0) });
    saveButton(root, "fading");
  });
}
