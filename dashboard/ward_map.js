// The map of the ward: draws one step of an episode and plays the others without asking the server. Several maps stand side by
// side and step together. `data.maps[n]` comes from iomt_core/charts/ward_map.py. Colours and sizes are attributes, so that a
// saved picture needs no style sheet; text reaches the page through textContent only.
const SHOWN = "iomt-step-shown", WANTED = "iomt-step-wanted";
const SVG = "http://www.w3.org/2000/svg", RED = "#d62728";

function make(parent, name, attributes = {}, text) {
  const element = document.createElementNS(SVG, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  return parent.appendChild(element);
}

function html(parent, name, properties = {}, text) {
  const element = Object.assign(document.createElement(name), properties);
  if (text !== undefined) element.textContent = text;
  return parent.appendChild(element);
}

// Devices differ in shape as well as in colour: the own device is round, servers are polygons.
function mark(svg, number, x, y, r, attributes) {
  if (number === 0) return make(svg, "circle", { cx: x, cy: y, r, ...attributes });
  const corners = [4, 3, 5, 6, 8][(number - 1) % 5], turn = number % 2 ? Math.PI / 4 : -Math.PI / 2;
  const corner = (_, n) => [x + 1.15 * r * Math.cos(turn + (2 * Math.PI * n) / corners), y + 1.15 * r * Math.sin(turn + (2 * Math.PI * n) / corners)];
  return make(svg, "polygon", { points: Array.from({ length: corners }, corner).map((at) => at.map((v) => v.toFixed(1)).join()).join(" "), ...attributes });
}

function drawStep(view) {
  view.maps.forEach((map) => drawMap(view, map, Math.min(view.at, map.data.steps.length - 1)));
  const step = view.steps[view.at];
  view.range.value = view.at;
  view.now.textContent = `step ${step} of ${view.steps.at(-1)}`;
  view.play.textContent = view.timer ? "❚❚ pause" : "▶ play";
  view.maps.forEach(({ data, figures }) => {
    figures.replaceChildren();
    if (data.figures) html(figures, "span", { className: "who" }, `${data.who}, step ${step}:`);
    data.figures?.forEach(({ label, values }) => html(html(figures, "span", {}, `${label} `), "b", {}, values[view.at] ?? "ended"));
  });
  document.body.dataset.step = step;
  document.dispatchEvent(new CustomEvent(SHOWN, { detail: step }));
}

// A server or a user; where a page allows it, a click switches it off or on again.
function device(view, svg, name, number, words) {
  const group = make(svg, "g", view.switches ? { class: "device", "data-device": `${name} ${number}` } : {});
  make(group, "title", {}, words);
  if (view.switches) group.onclick = () => view.send("switched", [name, number]);
  return group;
}

function drawMap(view, map, at) {
  const { data, svg } = map, step = data.steps[at], choice = data.choice[at], size = data.size, picked = view.picked?.join(".");
  const users = data.users[data.users.length > 1 ? at : 0], exact = data.exact[data.exact.length > 1 ? at : 0];
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
  make(svg, "rect", { x: 1, y: 1, width: size - 2, height: size - 2, rx: 10, fill: "currentColor", "fill-opacity": 0.05, stroke: "currentColor", "stroke-opacity": 0.3 });
  make(svg, "text", { x: size - 8, y: size - 8, "text-anchor": "end", "font-size": 12, fill: "currentColor", opacity: 0.8 }, data.area);
  const counts = choice.map((tasks) => data.names.map((_, k) => tasks.filter((chosen) => chosen === k).length));
  counts.forEach((count, i) => count.forEach((tasks, k) => {
    if (!k || !tasks || !data.servers[k - 1]) return; // the own device, nothing, or skipped
    const [[x1, y1], [x2, y2]] = [users[i], data.servers[k - 1]];
    make(svg, "line", { x1, y1, x2, y2, stroke: data.colours[k], "stroke-width": 0.8 + 0.9 * tasks, "stroke-dasharray": data.dashes[k], "stroke-linecap": "round", opacity: 0.55 });
  }));
  const label = (group, x, y, text, fill = "currentColor") => make(group, "text", { x, y, "text-anchor": "middle", "font-size": 13.5, "font-weight": 600, fill }, text);
  data.off.forEach(({ name, number, at: [x, y] }) => {
    const group = device(view, svg, name, number, `${name} ${number} is switched off`);
    make(group, "rect", { x: x - 28, y: y - 12, width: 56, height: 24, rx: name === "user" ? 12 : 5, fill: "none", stroke: "currentColor", "stroke-dasharray": "3 3", opacity: 0.7 });
    label(group, x, y + 5, `${name === "user" ? "" : "S"}${number} off`);
  });
  data.servers.forEach(([x, y], n) => {
    const tasks = counts.reduce((sum, count) => sum + count[n + 1], 0), text = `S${data.numbers[n + 1]} · ${tasks}`, half = 10 + 4 * text.length;
    const group = device(view, svg, "server", data.numbers[n + 1], `${data.names[n + 1]}: ${tasks} tasks, ${data.load[at][n]}`);
    make(group, "rect", { class: "server", x: x - half, y: y - 13, width: 2 * half, height: 26, rx: 5, fill: data.colours[n + 1], stroke: "#222", "stroke-width": 1.5 });
    label(group, x, y + 5, text, data.inks[n + 1]);
  });
  users.forEach(([ux, uy], i) => {
    const [x, y] = exact[i];
    if (Math.hypot(ux - x, uy - y) > 6) make(svg, "path", { d: `M${x} ${y}L${ux} ${uy}`, stroke: "currentColor", opacity: 0.7 });
    const group = device(view, svg, "user", data.users_numbers[i], `${data.users_names[i]}: own CPU ${data.own[at][i]} % in use`);
    make(group, "circle", { cx: ux, cy: uy, r: 11, fill: "#3b4252", stroke: "#fff" });
    make(group, "text", { x: ux, y: uy + 4, fill: "#fff", "font-size": 12, "text-anchor": "middle" }, data.users_numbers[i]);
    choice[i].forEach((k, j) => { if (k >= 0) drawTask(view, map, at, [step, data.users_numbers[i], j + 1].join("."), k, i, j, picked); });
  });
  roving(svg);
}

function drawTask(view, { data, svg }, at, id, k, i, j, picked) {
  const users = data.users[data.users.length > 1 ? at : 0], angle = (2 * Math.PI * j) / data.choice[at][i].length;
  const x = users[i][0] + data.ring * Math.sin(angle), y = users[i][1] - data.ring * Math.cos(angle);
  const other = data.changed ? data.changed[at][i][j] : -1, kind = data.kind?.[at][i][j], mine = id === picked;
  const words = `${data.users_names[i]}, task ${j + 1}${kind === undefined ? "" : ` (${data.kinds[kind]})`}, priority ${data.priority[at][i][j]}, ${k > data.servers.length ? "" : "on "}${data.names[k]}: ` +
    `${data.delay[at][i][j]}, cost ${data.cost[at][i][j]}${other < 0 ? "" : `; decided differently: ${data.other_names[other]} in ${data.other}`}`;
  const line = mine ? [RED, 4] : kind === undefined ? ["#222", 0.8] : [data.kind_colours[kind], 2.5];
  const task = mark(svg, data.numbers[k], x, y, data.task_radius * (k > data.servers.length ? 0.6 : 1), { class: mine ? "task picked" : "task", fill: data.colours[k], stroke: line[0], "stroke-width": line[1],
    opacity: data.changed && other < 0 && !mine ? 0.4 : 1, tabindex: -1, role: "button", "aria-label": words, "data-task": id });
  make(task, "title", {}, words);
  if (other >= 0) make(svg, "circle", { class: "changed-ring", cx: x, cy: y, r: 1.5 * data.task_radius + 1, fill: "none", stroke: "currentColor", "stroke-width": 1.5, "stroke-dasharray": "3 1.5" });
  const pick = () => { stop(view); view.send("picked", id.split(".").map(Number)); };
  task.onclick = pick;
  task.onkeydown = (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); } };
}

// One stop of the Tab key for all tasks of a map: arrow keys go on from there, up and down to the neighbouring user, Home and End
// to the ends. A task that had the focus gets it back, though it was drawn anew.
function roving(root) {
  const tasks = () => [...root.querySelectorAll(".task")], name = (task) => task.dataset.task.split(".").slice(1).join(".");
  const setTabStop = (task) => { root.tabStop = name(task); tasks().forEach((other) => other.setAttribute("tabindex", other === task ? 0 : -1)); };
  const now = tasks(), current = now.find((task) => (root.tabStop ? name(task) === root.tabStop : task.classList.contains("picked"))) ?? now[0];
  if (!current) return;
  const focused = root.focused;
  setTabStop(current);
  if (focused) current.focus({ preventScroll: true });
  if (root.onkeydown) return;
  root.addEventListener("focusin", (event) => { root.focused = event.target.matches(".task"); if (root.focused) setTabStop(event.target); });
  root.addEventListener("focusout", ({ target }) => setTimeout(() => { if (target.isConnected && !root.matches(":focus-within")) root.focused = false; }));
  root.onkeydown = (event) => {
    const all = tasks(), at = all.indexOf(event.target), user = (n) => name(all[n]).split(".")[0];
    const other = (way) => { let n = at + way; while (n > 0 && n < all.length - 1 && user(n) === user(at)) n += way; return n; };
    const to = at < 0 ? undefined : { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: other(1), ArrowUp: other(-1), Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    all[Math.max(0, Math.min(all.length - 1, to))].focus();
  };
}

function stop(view) {
  clearInterval(view.timer);
  view.timer = null;
}

function go(view, at, notify) {
  view.at = Math.max(0, Math.min(view.steps.length - 1, at));
  drawStep(view);
  if (notify) view.send("step", view.steps[view.at]);
}

function toggle(view) {
  if (view.timer) { stop(view); go(view, view.at, true); return; }
  view.timer = setInterval(() => go(view, (view.at + 1) % view.steps.length, false), Number(view.speed.value));
  drawStep(view);
}

function save(view) {
  view.maps.forEach(({ svg, title }) => {
    const copy = svg.cloneNode(true), look = getComputedStyle(svg), link = document.createElement("a");
    copy.querySelectorAll("*").forEach((element) => ["class", "tabindex", "role", "data-task"].forEach((name) => element.removeAttribute(name)));
    copy.setAttribute("style", `color: ${look.color}; background: ${look.getPropertyValue("--st-background-color")}; font-family: Arial, Helvetica, sans-serif`);
    link.href = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" }));
    link.download = `ward${title.textContent ? `-${title.textContent.slice(0, 1)}` : ""}-step-${view.steps[view.at]}.svg`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

function build(root) {
  const part = (name) => root.querySelector(name), jump = (at, notify) => { stop(view); go(view, at, notify); };
  const view = { at: 0, timer: null, maps: [], side: part(".maps"), play: part(".play"), range: part("input"), now: part(".now"), speed: part("select") };
  part(".back").onclick = () => jump(view.at - 1, true);
  part(".on").onclick = () => jump(view.at + 1, true);
  part(".save").onclick = () => save(view);
  view.play.onclick = () => toggle(view);
  view.range.oninput = () => jump(Number(view.range.value), false);
  view.range.onchange = () => jump(Number(view.range.value), true);
  view.speed.onchange = () => { if (view.timer) { stop(view); toggle(view); } };
  view.wanted = ({ detail }) => { const at = view.steps.indexOf(detail); if (at >= 0) jump(at, true); };
  document.addEventListener(WANTED, view.wanted);
  return view;
}

// As many maps as there are to show, with their titles and legends.
function arrange(view, given) {
  while (view.maps.length > given.length) view.maps.pop().box.remove();
  while (view.maps.length < given.length) {
    const box = html(view.side, "div", { className: "map" }), title = html(box, "div", { className: "map-title" });
    view.maps.push({ box, title, svg: make(box, "svg", { role: "group" }), figures: html(box, "div", { className: "figures" }), legend: html(box, "div", { className: "legend" }) });
  }
  view.maps.forEach((map, n) => {
    const { title, text, frames } = given[n], entry = (name, style, className = "") => { const box = html(map.legend, "span"); html(box, "i", { className, style }); html(box, "span", {}, name); };
    map.data = frames;
    map.svg.setAttribute("aria-label", text);
    map.title.textContent = title;
    map.title.hidden = !title;
    map.legend.replaceChildren();
    frames.names.forEach((name, k) => entry(name, k > frames.servers.length ? "border: 1px solid; scale: 0.6" : `background: ${frames.colours[k]}`));
    if (frames.kind) frames.kinds.forEach((name, k) => entry(name, `border: 3px solid ${frames.kind_colours[k]}`));
    if (frames.changed) entry("decided differently", "border: 2px dashed");
  });
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".ward"), view = root.view ?? (root.view = build(root));
  const first = view.steps === undefined, sameStep = !first && view.sessionStep === data.step;
  arrange(view, data.maps);
  view.steps = view.maps.map((map) => map.data.steps).reduce((most, steps) => (steps.length > most.length ? steps : most));
  Object.assign(view, { picked: data.picked, sessionStep: data.step, switches: data.switches, send: setTriggerValue });
  view.range.max = view.steps.length - 1;
  const wanted = view.steps.indexOf(data.step);
  go(view, view.timer || sameStep || wanted < 0 ? view.at : wanted, false);
  if (first && data.autoplay && !matchMedia("(prefers-reduced-motion: reduce)").matches) toggle(view);
  return () => {
    if (parentElement.isConnected) return;
    stop(view);
    document.removeEventListener(WANTED, view.wanted);
  };
}
