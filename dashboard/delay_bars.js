// One step's tasks, slowest first, delay split into execution and transmission; `data` comes from iomt_core/charts/tasks.py.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".drawing");
  root.replaceChildren();
  const legend = html(root, "div", { className: "legend" });
  [["execution (1), in the device's colour", "key-exe"], ["transmission (7)", "key-tx"]].forEach(([text, name]) => {
    const entry = html(legend, "span", {});
    html(entry, "i", { className: name });
    html(entry, "span", {}, text);
  });
  const width = 1200, height = 300, left = 60, bottom = 58, top = 14;
  const svg = make(root, "svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": data.text });
  const y = (value) => height - bottom - ((height - bottom - top) * value) / data.end;
  valueAxis(svg, data.ticks, y, { left, width, height, top, bottom, title: "delay (ms)", below: "task (user.task), slowest first" });
  const slot = (width - left) / Math.max(1, data.tasks.length), thick = Math.max(2, slot - 3), many = data.tasks.length > 90;
  data.tasks.forEach((task, n) => {
    const x = left + n * slot + 1, [step, user, number] = task.id;
    const label = `task ${user}.${number} on ${task.device}: execution ${task.exe} ms, transmission ${task.tx} ms${task.missed ? ", late" : ""}`;
    const group = make(svg, "g", { class: task.picked ? "task picked" : "task", tabindex: 0, role: "button", "aria-label": label,
      "data-task": task.id.join(".") });
    make(group, "title", {}, label);
    make(group, "rect", { class: "hit", x, y: top, width: thick, height: height - bottom - top });
    make(group, "rect", { class: "exe", x, y: y(task.exe), width: thick, height: Math.max(0.5, y(0) - y(task.exe)), fill: task.colour });
    make(group, "rect", { class: "tx", x, y: y(task.exe + task.tx), width: thick, height: Math.max(0, y(task.exe) - y(task.exe + task.tx)) });
    if (!many) make(svg, "text", { class: "tick small", transform: `translate(${x + thick / 2 + 4} ${height - bottom + 8}) rotate(-90)`, "text-anchor": "end" }, `${user}.${number}`);
    const pick = () => setTriggerValue("picked", [step, user, number]);
    group.addEventListener("click", pick);
    group.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); } });
  });
  roving(root);
  if (data.deadline <= data.end) {
    make(svg, "line", { class: "bound", x1: left, x2: width, y1: y(data.deadline), y2: y(data.deadline) });
    make(svg, "text", { class: "bound-label", x: width - 4, y: y(data.deadline) - 5, "text-anchor": "end" }, `deadline ${data.deadline} ms`);
  }
  saveButton(root, "delays");
}
