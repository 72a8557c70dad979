"use strict";
// Draws the figures of a page, and lets the reader choose what is shown and read values off. Nothing is fetched.
(() => {
  const { svg, label, html, coloured, spread, drawMarker } = parts;

  function interactive(element, data) {
    const shown = data.series.map(() => true);
    let panel = data.panels[0];
    let places = placesOf();
    let cursor = places.length - 1;
    let frame = null; // Where things lie in the current drawing.

    const controls = html("div", "controls");
    const panels = html("div", "switch");
    const reading = html("output", "read-off");
    const chart = html("div", "chart");
    const slider = html("input");
    const legend = html("ul", "legend");

    const visible = () => panel.curves.filter((curve) => shown[curve.series]);
    function placesOf() {
      const all = panel.curves.flatMap((curve) => curve.x.map((at, i) => [at, curve.xText[i]]));
      return [...new Map(all).entries()].sort((one, other) => one[0] - other[0]);
    }
    // The point of a curve at the cursor: the nearest one.
    function pointAt(curve) {
      const at = places[cursor][0];
      return curve.x.reduce((best, x, i) => (Math.abs(x - at) < Math.abs(curve.x[best] - at) ? i : best), 0);
    }

    function layout() {
      const width = Math.max(chart.clientWidth, 260);
      const labelled = width >= 640 && data.series[0].name !== "";
      const longest = Math.max(...data.series.map((one) => Math.min(one.name.length, 34)));
      const right = labelled ? Math.min(50 + 7 * longest, 0.36 * width) : 16;
      const height = width >= 640 ? 440 : 330;
      const box = { width, height, left: 58, right: width - right, top: 14, bottom: height - 44, labelled };
      box.x = (part) => box.left + (box.right - box.left) * part;
      box.y = (part) => box.bottom - (box.bottom - box.top) * part;
      return box;
    }

    function drawAxes(drawing) {
      const { left, right, top, bottom, x, y } = frame;
      for (const [at, name] of data.yTicks) {
        svg("line", { class: "grid", x1: left, x2: right, y1: y(at), y2: y(at) }, drawing);
        label(drawing, name, { x: left - 8, y: y(at) + 4, "text-anchor": "end" });
      }
      svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }, drawing);
      svg("line", { class: "axis", x1: left, x2: left, y1: top, y2: bottom }, drawing);
      let free = -Infinity; // Labels that would run into one another are left out.
      for (const [at, name] of data.xTicks) {
        svg("line", { class: "axis", x1: x(at), x2: x(at), y1: bottom, y2: bottom + 4 }, drawing);
        const room = Math.floor((right - left) / data.xTicks.length / 6.5);
        const short = data.named && name.length > room && room > 3 ? `${name.slice(0, room - 1)}…` : name;
        const half = 3.4 * short.length;
        if (x(at) - half < free) continue;
        free = x(at) + half + 5;
        label(drawing, short, { x: x(at), y: bottom + 19, "text-anchor": "middle" });
      }
      label(drawing, data.xLabel, { x: (left + right) / 2, y: bottom + 38, "text-anchor": "middle" });
      for (const [at, name] of panel.lines) {
        svg("line", { class: "u2", x1: left, x2: right, y1: y(at), y2: y(at) }, drawing);
        label(drawing, name, { class: "mark", x: left + 8, y: y(at) + 14 });
      }
    }

    function pathOf(curve) {
      let pen = "M";
      return curve.y
        .map((at, i) => {
          const step = at === null ? "" : `${pen}${frame.x(curve.x[i]).toFixed(1)},${frame.y(at).toFixed(1)}`;
          pen = at === null ? "M" : "L";
          return step;
        })
        .join("");
    }

    function drawBand(curve, group) {
      const edges = curve.x.map((at, i) => [at, curve.low[i], curve.high[i]]).filter((e) => e[1] !== null && e[2] !== null);
      const point = (at, level) => `${frame.x(at).toFixed(1)},${frame.y(level).toFixed(1)}`;
      if (data.joined && edges.length > 1) {
        const around = edges.map((e) => point(e[0], e[2])).concat(edges.map((e) => point(e[0], e[1])).reverse());
        svg("path", { class: "band", d: `M${around.join("L")}Z` }, group);
      } else {
        for (const [at, low, high] of edges) svg("path", { class: "curve direct", d: `M${point(at, low)}L${point(at, high)}` }, group);
      }
    }

    function drawCurves(drawing) {
      for (const curve of visible()) {
        const series = data.series[curve.series];
        const group = coloured(svg("g", {}, drawing), series);
        if (curve.low) drawBand(curve, group);
        const dash = series.dash.map((part) => (part * 2).toFixed(1)).join(" ");
        if (data.joined) svg("path", { class: "curve", d: pathOf(curve), "stroke-dasharray": dash || "none" }, group);
        const every = data.joined ? Math.max(1, Math.floor(curve.x.length / 12)) : 1;
        curve.y.forEach((at, i) => {
          if (at !== null && i % every === 0) drawMarker(series.marker, frame.x(curve.x[i]), frame.y(at), group);
        });
      }
    }

    function drawEnds(drawing) {
      if (!frame.labelled) return;
      const curves = visible().filter((curve) => curve.y.some((at) => at !== null));
      const ends = curves.map((curve) => {
        const last = curve.y.findLastIndex((at) => at !== null);
        return [frame.x(curve.x[last]), frame.y(curve.y[last])];
      });
      const heights = spread(ends.map(([, y]) => y), 17, frame.top + 8, frame.bottom - 8);
      curves.forEach((curve, i) => {
        const group = coloured(svg("g", {}, drawing), data.series[curve.series]);
        const [x, y] = ends[i];
        svg("path", { class: "leader", d: `M${x + 5},${y}L${frame.right + 8},${y}L${frame.right + 22},${heights[i]}` }, group);
        label(group, data.series[curve.series].name, { class: "end", x: frame.right + 27, y: heights[i] + 4 });
      });
    }

    function draw() {
      frame = layout();
      const { width, height } = frame;
      const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": data.title });
      drawAxes(drawing);
      drawCurves(drawing);
      drawEnds(drawing);
      svg("g", { class: "reading" }, drawing);
      chart.replaceChildren(drawing);
      read();
    }

    function read() {
      const [at, name] = places[cursor];
      const layer = chart.querySelector(".reading");
      const x = frame.x(at);
      layer.replaceChildren();
      svg("line", { class: "cursor", x1: x, x2: x, y1: frame.top, y2: frame.bottom }, layer);
      reading.textContent = `${data.xLabel}: ${name}`;
      const spoken = [];
      data.series.forEach((series, index) => {
        const button = legend.children[index].firstElementChild;
        const curve = panel.curves.find((one) => one.series === index);
        const value = button.querySelector(".value");
        button.disabled = !curve;
        if (!curve) {
          value.replaceChildren(html("small", "", "not in this panel"));
          return;
        }
        const i = pointAt(curve);
        const elsewhere = curve.xText[i] === name ? "" : `at ${curve.xText[i]}`;
        const band = curve.bandText ? curve.bandText[i] : "";
        value.replaceChildren(curve.yText[i], html("small", "", [band, elsewhere].filter(Boolean).join(", ")));
        if (shown[index]) spoken.push(`${series.name} ${curve.yText[i]}`);
      });
      slider.max = String(places.length - 1);
      slider.value = String(cursor);
      slider.setAttribute("aria-valuetext", `${data.xLabel} ${name}: ${spoken.join(", ")}`);
    }

    function moveTo(place) {
      cursor = Math.min(Math.max(place, 0), places.length - 1);
      read();
    }
    function follow(event) {
      const box = chart.getBoundingClientRect();
      const part = ((event.clientX - box.left) * (frame.width / box.width) - frame.left) / (frame.right - frame.left);
      const away = places.map(([at]) => Math.abs(at - part));
      moveTo(away.indexOf(Math.min(...away)));
    }

    function buildPanels() {
      panels.setAttribute("role", "group");
      panels.setAttribute("aria-label", "Panel shown");
      panels.hidden = data.panels.length < 2;
      for (const one of data.panels) {
        const button = html("button", "", one.name);
        button.type = "button";
        button.setAttribute("aria-pressed", String(one === panel));
        button.addEventListener("click", () => {
          const before = places[cursor][0];
          panel = one;
          for (const other of panels.children) other.setAttribute("aria-pressed", String(other === button));
          places = placesOf();
          const away = places.map(([at]) => Math.abs(at - before));
          cursor = away.indexOf(Math.min(...away));
          draw();
        });
        panels.append(button);
      }
    }

    function buildLegend() {
      legend.setAttribute("aria-label", "Series: press to show or hide");
      data.series.forEach((series, index) => {
        const button = html("button");
        button.type = "button";
        button.setAttribute("aria-pressed", "true");
        const sample = coloured(svg("svg", { viewBox: "0 0 42 14", "aria-hidden": "true" }, button), series);
        const dash = series.dash.map((part) => part * 2).join(" ");
        const line = { x1: 0, x2: 42, y1: 7, y2: 7, stroke: "currentColor", "stroke-width": 2.2 };
        if (data.joined) svg("line", { ...line, "stroke-dasharray": dash || "none" }, sample);
        drawMarker(series.marker, 21, 7, sample);
        button.append(html("span", "name", series.name || data.yLabel), html("span", "value"));
        button.addEventListener("click", () => {
          shown[index] = !shown[index];
          button.setAttribute("aria-pressed", String(shown[index]));
          draw();
        });
        const item = html("li");
        item.append(button);
        legend.append(item);
      });
    }

    buildPanels();
    buildLegend();
    controls.append(panels, reading);
    slider.type = "range";
    slider.min = "0";
    slider.addEventListener("input", () => moveTo(Number(slider.value)));
    chart.addEventListener("pointermove", follow);
    chart.addEventListener("pointerdown", follow);
    const row = html("label", "slider");
    row.append(html("span", "", data.xLabel), slider);
    element.querySelector(".static").hidden = true;
    element.append(controls, html("p", "axis-name", data.yLabel), chart, row, legend);
    draw();
    let drawnWidth = chart.clientWidth;
    new ResizeObserver(() => {
      if (chart.clientWidth === drawnWidth) return;
      drawnWidth = chart.clientWidth;
      draw();
    }).observe(chart);
  }

  parts.themeSwitch();
  const all = JSON.parse(document.getElementById("data").textContent);
  for (const element of document.querySelectorAll("[data-figure]")) interactive(element, all[element.dataset.figure]);
})();
