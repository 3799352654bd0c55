// What a person would see as broken, measured from the page: text cut off, labels over one another, sideways scrolling.
() => {
  const found = [], seen = [];
  const shown = (element) => {
    const look = getComputedStyle(element);
    return look.visibility === "visible" && element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  };
  const parent = (element) => element.parentElement ?? element.getRootNode().host ?? null;
  const short = (text) => text.trim().replace(/\s+/g, " ").slice(0, 60);
  const ignored = "[data-testid=stDataFrame], [aria-hidden=true], .hoverlayer, noscript, script, style, option, title, [data-testid=stSidebarCollapsedControl]";

  const texts = (root) => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.nodeType === 1) { if (node.shadowRoot) texts(node.shadowRoot); continue; }
      const element = node.parentElement;
      if (!element || !node.data.trim() || element.closest(ignored) || !shown(element)) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      const boxes = element.closest("svg") ? [element.getBoundingClientRect()] : [...range.getClientRects()];
      boxes.filter((box) => box.width > 1 && box.height > 1).forEach((box) => look(element, node.data, box));
    }
  };

  const look = (element, text, box) => {
    let cut = false, scrolls = false;
    for (let up = element; up; up = parent(up)) {
      const style = getComputedStyle(up), frame = up.getBoundingClientRect();
      if (frame.width <= 2 || frame.height <= 2) { if (style.overflow !== "visible" || style.clipPath !== "none") return; continue; } // only for screen readers
      if (style.display === "inline" || style.display === "contents") continue;
      const hides = (way) => ["hidden", "clip"].includes(way), moves = (way) => ["auto", "scroll"].includes(way);
      const beyond = box.right > frame.right + 2 || box.left < frame.left - 2, below = box.bottom > frame.bottom + 3 || box.top < frame.top - 3;
      if (!scrolls && ((hides(style.overflowX) && beyond) || (hides(style.overflowY) && below))) {
        if (box.left > frame.right || box.right < frame.left || box.top > frame.bottom || box.bottom < frame.top) return; // wholly outside: closed
        cut = true;
      }
      if (moves(style.overflowX) && beyond && up.matches(":not([data-testid=stMain], [data-testid=stSidebarContent], html, body)")) found.push(`behind a scroll bar: ${short(text)}`);
      if (moves(style.overflowX) || moves(style.overflowY)) scrolls = true;
    }
    if (cut) found.push(`cut off: ${short(text)}`);
    seen.push({ element, text: short(text), box });
  };

  texts(document.body);
  const inside = (a, b) => a.element.contains(b.element) || b.element.contains(a.element);
  const area = ({ element }) => element.closest("[data-testid=stSidebar]") ?? element.closest("header, [data-testid=stHeader]") ?? document.body;
  seen.forEach((a, n) => seen.slice(0, n).forEach((b) => {
    const wide = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left), high = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
    if (wide > 2 && high > 0.3 * Math.min(a.box.height, b.box.height) && area(a) === area(b) && !inside(a, b)) found.push(`over one another: ${a.text} | ${b.text}`);
  }));
  for (const element of [document.scrollingElement, document.querySelector("[data-testid=stMain]")])
    if (element.scrollWidth > element.clientWidth + 1) found.push(`sideways scrolling: ${element.scrollWidth} px in ${element.clientWidth}`);
  return [...new Set(found)];
}
