"use strict";
// What every drawing on a page is made of. Nothing is fetched.
const parts = (() => {
  const probe = document.createElement("div");
  probe.innerHTML = "<svg></svg>";
  const svgSpace = probe.firstChild.namespaceURI;

  function themeSwitch() {
    const button = document.getElementById("theme");
    const system = window.matchMedia("(prefers-color-scheme: dark)");
    const isDark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
    const name = () => {
      button.textContent = isDark() ? "Light theme" : "Dark theme";
    };
    button.addEventListener("click", () => {
      document.documentElement.dataset.theme = isDark() ? "light" : "dark";
      name();
    });
    system.addEventListener("change", name);
    name();
    button.hidden = false;
  }

  function svg(kind, attributes, parent) {
    const element = document.createElementNS(svgSpace, kind);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (parent) parent.append(element);
    return element;
  }
  function label(parent, text, attributes) {
    const element = svg("text", attributes, parent);
    element.textContent = text;
    return element;
  }
  function html(kind, className, text) {
    const element = document.createElement(kind);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }
  function coloured(element, look) {
    element.classList.add("stroke");
    element.style.setProperty("--light", look.light);
    element.style.setProperty("--dark", look.dark);
    return element;
  }

  // Least movement that keeps labels apart: isotonic regression by pooling, as in the picture.
  function spread(wanted, gap, low, high) {
    gap = Math.min(gap, (high - low) / Math.max(wanted.length - 1, 1));
    const order = wanted.map((_, i) => i).sort((i, j) => wanted[i] - wanted[j] || i - j);
    const blocks = [];
    order.forEach((index, rank) => {
      let block = { mean: wanted[index] - rank * gap, size: 1 };
      while (blocks.length && blocks[blocks.length - 1].mean > block.mean) {
        const before = blocks.pop();
        const size = before.size + block.size;
        block = { mean: (before.mean * before.size + block.mean * block.size) / size, size };
      }
      blocks.push(block);
    });
    const pooled = blocks.flatMap((block) => Array(block.size).fill(block.mean));
    const top = high - (wanted.length - 1) * gap;
    const placed = [];
    order.forEach((index, rank) => {
      placed[index] = Math.min(Math.max(pooled[rank], low), top) + rank * gap;
    });
    return placed;
  }

  function drawMarker(kind, x, y, parent) {
    const r = 4.2;
    const shapes = {
      o: () => svg("circle", { cx: x, cy: y, r }, parent),
      s: () => svg("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r }, parent),
      "^": () => svg("path", { d: `M${x},${y - 5}l5,9h-10z` }, parent),
      v: () => svg("path", { d: `M${x},${y + 5}l5,-9h-10z` }, parent),
      D: () => svg("path", { d: `M${x},${y - 5.5}l5.5,5.5l-5.5,5.5l-5.5,-5.5z` }, parent),
    };
    const marker = shapes[kind]();
    marker.classList.add("dot");
    return marker;
  }

  return { themeSwitch, svg, label, html, coloured, spread, drawMarker };
})();
