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

// Draws at the width there is, and again when it changes.
function followWidth(root, draw) {
  let drawn = 0;
  root.follower?.disconnect();
  const look = () => {
    const width = Math.floor(root.clientWidth);
    if (width > 0 && Math.abs(width - drawn) > 2) draw((drawn = width));
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
