// The table of runs; `data` comes from run_list.py. Rows stay and only what differs is written, so that a table that is
// updated each second neither flickers nor loses the keyboard's focus.
const HEADS = ["", "run", "state", "progress", "gap", "speed", "time", ""];

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".runs");
  root.tell = (what, name) => setTriggerValue("did", [what, name]);
  if (!root.body) {
    const table = html(root, "table", {});
    const head = html(html(table, "thead", {}), "tr", {});
    HEADS.forEach((text) => html(head, "th", { scope: "col" }, text));
    root.body = html(table, "tbody", {});
    root.rows = new Map();
  }
  const wanted = new Set(data.rows.map((row) => row.name));
  root.rows.forEach((row, name) => {
    if (!wanted.has(name)) { row.tr.remove(); root.rows.delete(name); }
  });
  data.rows.forEach((row, n) => {
    if (!root.rows.has(row.name)) root.rows.set(row.name, newRow(root, row.name));
    const known = root.rows.get(row.name);
    if (root.body.children[n] !== known.tr) root.body.insertBefore(known.tr, root.body.children[n] || null);
    fill(root, known, row);
  });
}

function newRow(root, name) {
  const tr = html(root.body, "tr", {});
  tr.dataset.run = name;
  const cells = HEADS.map(() => html(tr, "td", {}));
  const box = html(cells[0], "input", { type: "checkbox", title: `show ${name} on the charts` });
  box.setAttribute("aria-label", `show ${name} on the charts`);
  box.addEventListener("change", () => root.tell(box.checked ? "show" : "hide", name));
  const line = make(make(cells[0], "svg", { class: "key", viewBox: "0 0 26 8", "aria-hidden": "true" }), "line", { x1: 0, x2: 26, y1: 4, y2: 4 });
  const pick = html(cells[1], "button", { className: "name", title: "show this run alone" }, name);
  pick.addEventListener("click", () => root.tell("only", name));
  const about = html(cells[1], "div", { className: "about" });
  const state = html(cells[2], "span", { className: "state" });
  const note = html(cells[2], "div", { className: "about" });
  const bar = html(cells[3], "div", { className: "bar" });
  bar.setAttribute("role", "progressbar");
  bar.setAttribute("aria-valuemin", 0);
  bar.setAttribute("aria-valuemax", 100);
  const done = html(bar, "div", { className: "done" });
  const count = html(cells[3], "div", { className: "about" });
  return { tr, cells, box, line, pick, about, state, note, bar, done, count, deleting: false, shown: "" };
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function fill(root, known, row) {
  known.row = row;
  known.tr.className = row.focus ? "focus" : "";
  known.box.checked = row.shown;
  known.line.setAttribute("stroke", row.colour || "transparent");
  known.line.setAttribute("stroke-dasharray", row.dash);
  write(known.about, row.about);
  known.state.className = `state ${row.state}`;
  write(known.state, row.word);
  write(known.note, row.note);
  known.bar.setAttribute("aria-valuenow", Math.round(row.part * 100));
  known.bar.setAttribute("aria-label", `${row.name}: ${row.count}`);
  known.done.style.width = `${row.part * 100}%`;
  write(known.count, row.count);
  write(known.cells[4], row.gap);
  write(known.cells[5], row.speed);
  write(known.cells[6], row.time);
  buttons(root, known);
}

function buttons(root, known) {
  const { row, cells } = known;
  if (!row.actions.includes("Delete")) known.deleting = false;
  const shown = known.deleting ? "sure" : row.actions.join();
  if (known.shown === shown) return;
  known.shown = shown;
  const cell = cells[7], held = cell.contains(cell.getRootNode().activeElement);
  cell.replaceChildren();
  const add = (text, label, act, kind) => {
    const button = html(cell, "button", { className: kind || "" }, text);
    button.setAttribute("aria-label", label);
    button.addEventListener("click", act);
    return button;
  };
  if (known.deleting) {
    html(cell, "span", { className: "about" }, "Delete for good? ");
    add("Delete", `really delete ${row.name}`, () => root.tell("delete", row.name), "danger");
    add("Keep", `keep ${row.name}`, () => { known.deleting = false; buttons(root, known); }).focus();
    return;
  }
  row.actions.forEach((action) => {
    const act = action === "Delete" ? () => { known.deleting = true; buttons(root, known); } : () => root.tell(action.toLowerCase(), row.name);
    add(action, `${action.toLowerCase()} ${row.name}`, act);
  });
  if (held && cell.firstElementChild) cell.firstElementChild.focus();
}
