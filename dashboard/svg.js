// Helpers that stand before each of the dashboard's drawings. Text reaches the page through textContent only.
const NS = "http://www.w3.org/2000/svg";

function make(parent, name, attributes, text) {
  const element = document.createElementNS(NS, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  parent.appendChild(element);
  return element;
}

function html(parent, name, properties, text) {
  const element = document.createElement(name);
  Object.assign(element, properties);
  if (text !== undefined) element.textContent = text;
  parent.appendChild(element);
  return element;
}

// Draws at the width there is, and again when it changes, with a button that saves what is drawn, if anything is.
function followWidth(root, file, draw) {
  let drawn = 0;
  root.follower?.disconnect();
  const look = () => {
    const width = Math.floor(root.clientWidth);
    if (width <= 0 || Math.abs(width - drawn) <= 2) return;
    drawn = width;
    root.replaceChildren();
    draw(width);
    if (root.querySelector("svg")) saveButton(root, file);
  };
  root.follower = new ResizeObserver(look);
  root.follower.observe(root);
  look();
}

// One stop of the Tab key for all tasks of a drawing: arrow keys go on from there, up and down to the neighbouring user, Home
// and End to the ends. Call it after each drawing; a task that had the focus gets it back, though it was drawn anew.
function roving(root) {
  const name = (task) => task.dataset.task.split(".").slice(1).join(".");
  const tasks = () => [...root.querySelectorAll(".task")];
  const hold = (task) => {
    root.held = name(task);
    tasks().forEach((other) => other.setAttribute("tabindex", other === task ? 0 : -1));
  };
  const now = tasks();
  const current = now.find((task) => root.held ? name(task) === root.held : task.classList.contains("picked")) ?? now[0];
  if (!current) return;
  const had = root.focused;
  hold(current);
  if (had) current.focus({ preventScroll: true });
  if (root.listening) return;
  root.listening = true;
  root.addEventListener("focusin", (event) => {
    const task = event.target.closest(".task");
    root.focused = task !== null;
    if (task) hold(task);
  });
  // A task that is drawn anew loses the focus too, but is gone by the time this runs.
  root.addEventListener("focusout", (event) => {
    const left = event.target;
    setTimeout(() => { if (left?.isConnected && !root.matches(":focus-within")) root.focused = false; });
  });
  root.addEventListener("keydown", (event) => {
    const all = tasks(), at = all.indexOf(event.target), user = (n) => name(all[n]).split(".")[0];
    if (at < 0) return;
    const other = (way) => {
      let n = at + way;
      while (n > 0 && n < all.length - 1 && user(n) === user(at)) n += way;
      return n;
    };
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: other(1), ArrowUp: other(-1), Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    all[Math.max(0, Math.min(all.length - 1, to))].focus();
  });
}

// A number for an axis: as it is, or with an exponent where it would be long.
function plainNumber(value) {
  const size = Math.abs(value);
  return size >= 1e5 || (size > 0 && size < 1e-3) ? value.toExponential().replace("e+", "e") : String(value);
}

const LETTER = 7.2; // pixels: of a letter at most

// Where a plot begins beside a value axis with these ticks.
function besideAxis(ticks) {
  return 30 + LETTER * Math.max(3, ...ticks.map((tick) => plainNumber(tick).length));
}

// A value axis at the left: a line across and a number a tick, its title; and what stands below the plot. With `zero` the line
// at 0 is the one that bars stand on.
function valueAxis(svg, ticks, y, { left, width, height, top, bottom, title, below, zero }) {
  ticks.forEach((tick) => {
    make(svg, "line", { class: zero && tick === 0 ? "zero" : "grid", x1: left, x2: width, y1: y(tick), y2: y(tick) });
    make(svg, "text", { class: "tick", x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, plainNumber(tick));
  });
  make(svg, "text", { class: "tick", transform: `translate(13 ${(height - bottom + top) / 2}) rotate(-90)`, "text-anchor": "middle" }, title);
  make(svg, "text", { class: "tick", x: (left + width) / 2, y: height - 5, "text-anchor": "middle" }, below);
}

function short(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

// -- taking a drawing away ------------------------------------------------------------------------------------------------

const LOOKS = ["stroke-width", "stroke-dasharray", "stroke-linecap", "opacity", "paint-order", "font-family", "font-size", "font-weight", "text-anchor"];

// A button at `place` that saves what is drawn; above a drawing without a title it has a line of its own. What empties the
// drawing takes the button too.
function saveButton(root, file, place = root) {
  const words = `Download this drawing (SVG): ${file}`;
  const button = html(place, "button", { className: "save", type: "button", title: words }, "⤓");
  button.setAttribute("aria-label", words);
  root.classList.toggle("bare", !root.querySelector(":scope > .title, :scope > .legend:first-child"));
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([picture(root)], { type: "image/svg+xml" }));
    link.download = `${file}.svg`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

// Fill or stroke without transparency in the colour itself, which many a program reads as black.
function paint(element, name, colour) {
  const [red, green, blue, alpha] = (/^rgba\((.*)\)$/.exec(colour)?.[1] ?? "").split(",");
  const opaque = alpha === undefined ? colour : Number(alpha) === 0 ? "none" : `rgb(${red},${green},${blue})`;
  element.setAttribute(name, opaque === "transparent" ? "none" : opaque);
  if (opaque !== colour && opaque !== "none") element.setAttribute(`${name}-opacity`, alpha.trim());
}

// Text in one line, or in as many as it takes where it has several on the page.
function writeLines(paper, text, x, { y, width, height }, look) {
  const size = parseFloat(look.fontSize), most = height < 2 * size ? Infinity : Math.max(8, Math.floor(width / (0.5 * size))), lines = [""];
  text.split(/\s+/).forEach((word) => {
    if (lines.at(-1) && lines.at(-1).length + word.length >= most) lines.push("");
    lines[lines.length - 1] += lines.at(-1) ? ` ${word}` : word;
  });
  const written = make(paper, "text", { "font-family": look.fontFamily, "font-size": look.fontSize, "font-weight": look.fontWeight });
  paint(written, "fill", look.color);
  lines.forEach((line, n) => make(written, "tspan", { x: x.toFixed(1), y: (y + size * (1.15 + 1.4 * n)).toFixed(1) }, line));
}

// All of a drawing as one SVG file that needs no style sheet: its parts, title and legend where they stand on the page.
function picture(root) {
  const whole = root.getBoundingClientRect(), paper = document.createElementNS(NS, "svg");
  let bottom = 0;
  const box = (element) => {
    const { left, top, width, height } = element.getBoundingClientRect();
    bottom = Math.max(bottom, top - whole.top + height);
    return { x: left - whole.left, y: top - whole.top, width, height };
  };
  const ground = make(paper, "rect", { x: 0, y: 0, fill: getComputedStyle(root).getPropertyValue("--st-background-color").trim() || "#fff" });
  root.querySelectorAll("svg").forEach((svg) => {
    const copy = svg.cloneNode(true), copies = [copy, ...copy.querySelectorAll("*")];
    [svg, ...svg.querySelectorAll("*")].forEach((element, n) => {
      const look = getComputedStyle(element), same = copies[n];
      same.removeAttribute("style");
      if (element.localName === "title") return;
      LOOKS.forEach((name) => same.setAttribute(name, look.getPropertyValue(name)));
      for (const name of ["fill", "stroke"]) paint(same, name, look.getPropertyValue(name));
    });
    copy.querySelectorAll(".hit").forEach((element) => element.remove());
    copies.forEach((element) => { for (const name of ["class", "tabindex", "role"]) element.removeAttribute(name); });
    Object.entries(box(svg)).forEach(([name, value]) => copy.setAttribute(name, value.toFixed(1)));
    paper.appendChild(copy);
  });
  root.querySelectorAll(".legend i").forEach((sign) => {
    const look = getComputedStyle(sign), { x, y, width, height } = box(sign), colours = look.backgroundImage.match(/rgb\([^)]*\)/g);
    const ring = parseFloat(look.borderTopWidth) > 0, bands = [...new Set(colours ?? [look.backgroundColor])];
    bands.forEach((colour, n) => {
      const band = make(paper, "rect", { x: x + (n * width) / bands.length, y, width: width / bands.length, height, rx: parseFloat(look.borderTopLeftRadius) ? 6 : 0,
        "stroke-width": ring ? 2 : 0, "stroke-dasharray": look.borderTopStyle === "dashed" ? "4 2" : "none" });
      paint(band, "fill", ring ? "none" : colour);
      paint(band, "stroke", ring ? look.borderTopColor : "none");
    });
  });
  root.querySelectorAll(".title, .note, .map-title, .legend > span").forEach((element) => {
    const place = box(element), sign = element.querySelector("i, svg");
    const from = sign ? sign.getBoundingClientRect().right - whole.left + 5 : place.x;
    writeLines(paper, element.textContent.trim(), from, place, getComputedStyle(element));
  });
  const size = { width: Math.ceil(whole.width), height: Math.ceil(bottom) };
  for (const element of [paper, ground]) Object.entries(size).forEach(([name, value]) => element.setAttribute(name, value));
  return new XMLSerializer().serializeToString(paper);
}
