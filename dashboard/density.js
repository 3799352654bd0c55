// A density as a filled curve, with one value marked; `data` comes from iomt_core/charts/fading.py.
export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".drawing");
  followWidth(root, "fading", (width) => {
    const height = 270, top = 12, bottom = 46, left = besideAxis(data.y_ticks);
    html(root, "div", { className: "title" }, data.title);
    html(root, "div", { className: "note" }, data.mark_text);
    const svg = make(root, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": data.text });
    const x = (value) => left + ((width - left - 12) * (value - data.x[0])) / (data.x.at(-1) - data.x[0]);
    const y = (value) => height - bottom - ((height - bottom - top) * value) / data.high;
    valueAxis(svg, data.y_ticks, y, { left, width, height, top, bottom, title: data.y_axis, below: data.x_axis, zero: true });
    data.x_ticks.forEach((tick) => {
      make(svg, "text", { class: "tick", x: x(tick), y: height - bottom + 17, "text-anchor": "middle" }, plainNumber(tick));
    });
    const line = data.x.map((value, n) => `${x(value).toFixed(1)},${y(data.y[n]).toFixed(1)}`).join(" L");
    make(svg, "path", { class: "area", d: `M${x(data.x[0])},${y(0)} L${line} L${x(data.x.at(-1))},${y(0)} Z` });
    make(svg, "path", { class: "curve", d: `M${line}` });
    const at = x(data.mark);
    make(svg, "line", { class: "mean", x1: at, x2: at, y1: top - 4, y2: y(0) });
  });
}
