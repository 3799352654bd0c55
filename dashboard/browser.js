// What the browser's Back button and its translation need; navigation.py puts it into the page, where it runs once. No markup in
// here, not even in a comment: Streamlit would drop the script.
if (!window.labBrowser) {
  window.labBrowser = true;
  // Back shall undo one action of the person. Streamlit adds one entry to the history for a page's path and one for its
  // query, so only the first after a key or pointer is added; the others replace it.
  let acted = navigator.userActivation?.hasBeenActive ?? false;
  for (const name of ["pointerdown", "keydown"]) addEventListener(name, (event) => { acted ||= !event.repeat; }, true);
  addEventListener("popstate", () => { acted = false; }, true);
  const { pushState, replaceState } = history, { removeChild, insertBefore } = Node.prototype, fonts = new WeakMap();
  history.pushState = (...entry) => { (acted ? pushState : replaceState).apply(history, entry); acted = false; };
  // Chrome's translation puts "font" elements in the place of texts, which React then cannot remove (the page would go
  // blank) and changes unseen (old numbers would stay). So a font element is taken for its text, and a changed text returns.
  const inPlace = (parent, node) => {
    let at = node.parentNode !== parent && fonts.get(node)?.isConnected ? fonts.get(node) : node;
    while (at && at.parentNode !== parent) at = at.parentNode?.nodeName === "FONT" ? at.parentNode : null;
    return at;
  };
  Node.prototype.removeChild = function (node) { const at = inPlace(this, node); return at ? removeChild.call(this, at) : node; };
  Node.prototype.insertBefore = function (node, next) { return insertBefore.call(this, node, next ? inPlace(this, next) : null); };
  const observer = new MutationObserver((records) => {
    const fresh = new Set(records.flatMap((record) => [...record.addedNodes].filter((node) => node.nodeName === "FONT")));
    for (const { target, addedNodes, removedNodes, previousSibling, nextSibling } of records) {
      if (target.nodeType === Node.TEXT_NODE && !target.isConnected) fonts.get(target)?.replaceWith(target);
      const font = [...addedNodes, previousSibling, nextSibling].find((node) => fresh.has(node));
      if (font) removedNodes.forEach((text) => { fonts.set(text, font); observer.observe(text, { characterData: true }); });
    }
  });
  observer.observe(document, { childList: true, subtree: true });
}
