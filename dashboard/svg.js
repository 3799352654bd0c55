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
