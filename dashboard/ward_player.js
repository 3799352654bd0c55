// The ward's player: draws one step of an episode and plays the rest without asking the server. With more than one map they
// stand side by side and step together. `data.maps[n].frames` comes from iomt_core/charts/ward_map.py.
const SIZE = 1000, MARGIN = 60, SPEEDS = [["slow", 1400], ["normal", 700], ["fast", 200]];

// A device is told apart by shape as well as colour: own device round, servers by polygons.
function shape(k, x, y, r) {
  if (k === 0) return null;
  const corners = [4, 3, 5, 6, 8][(k - 1) % 5], turn = k % 2 ? Math.PI / 4 : -Math.PI / 2;
  const points = [];
  for (let n = 0; n < corners; n++) {
    const angle = turn + (2 * Math.PI * n) / corners;
    points.push(`${(x + 1.15 * r * Math.cos(angle)).toFixed(1)},${(y + 1.15 * r * Math.sin(angle)).toFixed(1)}`);
  }
  return points.join(" ");
}

function drawStep(view) {
  view.maps.forEach((map) => drawMap(view, map, Math.min(view.at, map.data.steps.length - 1)));
  const steps = view.longest.steps;
  view.range.value = view.at;
  view.now.textContent = `step ${steps[view.at]} of ${steps[steps.length - 1]}`;
  view.play.textContent = view.timer ? "❚❚ pause" : "▶ play";
}

function drawMap(view, map, at) {
  const { data, svg } = map, picked = view.picked;
  const scale = (SIZE - 2 * MARGIN) / data.area;
  const place = ([x, y]) => [MARGIN + x * scale, SIZE - MARGIN - y * scale];
  const users = data.users_xy[data.users_xy.length > 1 ? at : 0], choice = data.choice[at], step = data.steps[at];
  svg.replaceChildren();
  make(svg, "rect", { class: "floor", x: MARGIN / 2, y: MARGIN / 2, width: SIZE - MARGIN, height: SIZE - MARGIN, rx: 14 });
  make(svg, "text", { x: SIZE - MARGIN / 2 - 8, y: SIZE - MARGIN / 2 - 10, class: "server-label", style: "text-anchor:end;font-weight:400" },
    `${data.area} m × ${data.area} m`);
  const total = new Array(data.colours.length).fill(0);
  users.forEach((user, i) => {
    const [ux, uy] = place(user), load = new Array(data.colours.length).fill(0);
    choice[i].forEach((k) => { if (k >= 0) { load[k]++; total[k]++; } });
    load.forEach((count, k) => {
      if (!k || !count) return;
      const [x, y] = place(data.servers_xy[k - 1]);
      make(svg, "line", { class: "link", x1: ux, y1: uy, x2: x, y2: y, stroke: data.colours[k], "stroke-width": 1 + 1.6 * count,
        "stroke-dasharray": data.dashes[k] });
    });
  });
  data.servers_xy.forEach((server, n) => {
    const [x, y] = place(server), r = 16 + 26 * Math.sqrt(total[n + 1] / Math.max(1, users.length * choice[0].length));
    const mark = make(svg, "rect", { class: "server", x: x - r, y: y - r, width: 2 * r, height: 2 * r, rx: 6, fill: data.colours[n + 1] });
    make(mark, "title", {}, `${data.names[n + 1]}: ${total[n + 1]} tasks, CPU ${(100 * data.cpu[at][n]).toFixed(0)} % and bandwidth ` +
      `${(100 * data.bandwidth[at][n]).toFixed(0)} % in use`);
    make(svg, "text", { class: "server-label", x, y: y - r - 8 }, `S${n + 1} · ${total[n + 1]}`);
  });
  const ring = 30, r = Math.min(9, 80 / choice[0].length);
  users.forEach((user, i) => {
    const [ux, uy] = place(user);
    make(make(svg, "circle", { class: "user", cx: ux, cy: uy, r: 14 }), "title", {},
      `user ${i + 1}: own CPU ${(100 * data.own[at][i]).toFixed(0)} % in use`);
    make(svg, "text", { class: "user-label", x: ux, y: uy + 5 }, i + 1);
    choice[i].forEach((k, j) => {
      if (k < 0) return;
      const angle = (2 * Math.PI * j) / choice[i].length, x = ux + ring * Math.sin(angle), y = uy - ring * Math.cos(angle);
      const points = shape(k, x, y, r);
      const other = data.changed ? data.changed[at][i][j] : -1;
      const mine = picked && picked[0] === step && picked[1] === i + 1 && picked[2] === j + 1;
      const kind = data.kind ? ` (${data.kinds[data.kind[at][i][j]]})` : "";
      const label = `user ${i + 1}, task ${j + 1}${kind}, priority ${data.priority[at][i][j]}, on ${data.names[k]}: ` +
        `${data.delay_ms[at][i][j]} ms, cost ${data.cost[at][i][j]}` + (other >= 0 ? `; decided otherwise: ${data.other_names[other]} in ${data.other}` : "");
      const task = make(svg, points ? "polygon" : "circle", {
        class: (mine ? "task picked" : "task") + (other >= 0 ? " changed" : data.changed ? " same" : ""), fill: data.colours[k], tabindex: 0, role: "button", "aria-label": label,
        ...(data.kind && !mine ? { style: `stroke:${data.kind_colours[data.kind[at][i][j]]};stroke-width:4` } : {}),
        "data-task": `${step}.${i + 1}.${j + 1}`, ...(points ? { points } : { cx: x, cy: y, r }),
      });
      make(task, "title", {}, label);
      if (other >= 0) make(svg, "circle", { class: "changed-ring", cx: x, cy: y, r: 1.5 * r + 2 });
      const pick = () => { stop(view); view.send("picked", [step, i + 1, j + 1]); };
      task.addEventListener("click", pick);
      task.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); } });
    });
  });
  roving(svg);
}

function stop(view) {
  if (view.timer) clearInterval(view.timer);
  view.timer = null;
}

function go(view, at, tell) {
  view.at = Math.max(0, Math.min(view.longest.steps.length - 1, at));
  drawStep(view);
  if (tell) view.send("step", view.longest.steps[view.at]);
}

function toggle(view) {
  if (view.timer) {
    stop(view);
    go(view, view.at, true);
    return;
  }
  const tick = () => go(view, (view.at + 1) % view.longest.steps.length, false);
  view.timer = setInterval(tick, SPEEDS[view.speed.selectedIndex][1]);
  drawStep(view);
}

function build(root) {
  const view = { at: 0, timer: null, maps: [] };
  view.beside = html(root, "div", { className: "maps" });
  const bar = html(root, "div", { className: "bar" });
  const button = (label, title, act) => {
    const element = html(bar, "button", { type: "button", title, onclick: act }, label);
    element.setAttribute("aria-label", title);
    return element;
  };
  button("◀", "one step back", () => { stop(view); go(view, view.at - 1, true); });
  view.play = button("▶ play", "play or pause", () => toggle(view));
  button("▶❚", "one step on", () => { stop(view); go(view, view.at + 1, true); });
  view.range = html(bar, "input", { type: "range", min: 0, step: 1 });
  view.range.setAttribute("aria-label", "step of the episode");
  view.range.addEventListener("input", () => { stop(view); go(view, Number(view.range.value), false); });
  view.range.addEventListener("change", () => go(view, Number(view.range.value), true));
  view.now = html(bar, "span", { className: "now" });
  view.speed = html(bar, "select", { title: "speed" });
  view.speed.setAttribute("aria-label", "speed");
  SPEEDS.forEach(([label]) => html(view.speed, "option", {}, label));
  view.speed.selectedIndex = 1;
  view.speed.addEventListener("change", () => { if (view.timer) { stop(view); toggle(view); } });
  saveButton(root, "ward", bar);
  return view;
}

function arrange(view, count) {
  while (view.maps.length > count) view.maps.pop().box.remove();
  while (view.maps.length < count) {
    const box = html(view.beside, "div", { className: "map" }), title = html(box, "div", { className: "map-title" });
    const svg = make(box, "svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "group" });
    view.maps.push({ box, title, svg, legend: html(box, "div", { className: "legend" }) });
  }
}

function explain(map) {
  const { data, legend } = map;
  const entry = (name, mark) => {
    const box = html(legend, "span", {});
    const sign = html(box, "i", { className: mark });
    html(box, "span", {}, name);
    return sign.style;
  };
  legend.replaceChildren();
  data.names.forEach((name, k) => { entry(name, "").background = data.colours[k]; });
  if (data.kind) data.kinds.forEach((name, n) => { entry(name, "ring").borderColor = data.kind_colours[n]; });
  if (data.changed) entry("decided otherwise", "changed");
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".ward");
  const view = root.view ?? (root.view = build(root));
  const first = view.longest === undefined, sameStep = !first && view.asked === data.step;
  arrange(view, data.maps.length);
  data.maps.forEach((given, n) => {
    const map = view.maps[n];
    map.data = given.frames;
    map.svg.setAttribute("aria-label", given.text);
    map.title.textContent = given.title;
    map.title.hidden = !given.title;
    explain(map);
  });
  view.longest = view.maps.reduce((most, map) => (map.data.steps.length > most.steps.length ? map.data : most), view.maps[0].data);
  view.picked = data.picked;
  view.asked = data.step;
  view.send = (name, value) => setTriggerValue(name, value);
  view.range.max = view.longest.steps.length - 1;
  const wanted = view.longest.steps.indexOf(data.step);
  go(view, view.timer || sameStep || wanted < 0 ? view.at : wanted, false);
  if (first && data.autoplay && !matchMedia("(prefers-reduced-motion: reduce)").matches) toggle(view);
  return () => { if (!parentElement.isConnected) stop(view); };
}
