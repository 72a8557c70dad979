"use strict";
// Draws the curves of the page, and lets the reader choose what is shown and read values off. Nothing is fetched.
(() => {
  const { svg, label, html, spread, drawMarker } = parts;
  const find = (id) => document.getElementById(id);
  const root = document.documentElement;
  const data = JSON.parse(find("data").textContent);
  const chart = find("chart");
  const slider = find("step");
  const reading = find("reading");
  const shown = data.solvers.map(() => true);
  let dtype = data.dtypes[0].name;
  let cursor = data.last;
  let frame = null; // Where things lie in the current drawing.

  // ---- small parts ----------------------------------------------------------------------------------------------
  const coloured = (element, solver) => parts.coloured(element, data.looks[solver]);
  function mse(value) {
    if (value === null) return "diverged";
    if (value === 0) return "0";
    return value >= 0.1 && value < 99.5 ? String(Number(value.toPrecision(2))) : value.toExponential(1).replace("e+", "e");
  }
  function level(value) {
    if (value === null) return null;
    if (value === 0) return data.axis.zero === null ? data.axis.low : data.axis.zero;
    return Math.min(Math.log10(value), data.axis.high + 1);
  }
  const visible = () => data.curves.filter((curve) => curve.dtype === dtype && shown[curve.solver]);
  const isDirect = (curve) => curve.x.length === 1;

  // The row of a curve at an iteration: the last one that is not beyond it.
  function rowAt(curve, iteration) {
    let low = 0;
    let high = curve.x.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (curve.x[middle] <= iteration) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  // ---- drawing --------------------------------------------------------------------------------------------------
  function layout() {
    const width = Math.max(chart.clientWidth, 260);
    const labelled = width >= 640;
    const longest = Math.max(...data.solvers.map((solver) => Math.min(solver.name.length, 34)));
    const beside = visible().length > 10 ? 65 : 0; // Many labels bear their value beside the name, not below it.
    const right = labelled ? Math.min(60 + beside + 7 * Math.max(longest, 10), 0.36 * width) : 14;
    const height = labelled ? 470 : 340;
    const box = { width, height, left: 50, right: width - right, top: 14, bottom: height - 44, labelled };
    const { low, high } = data.axis;
    box.x = (iteration) => box.left + ((box.right - box.left) * iteration) / data.last;
    box.y = (at) => box.bottom - ((box.bottom - box.top) * (at - low)) / (high - low);
    return box;
  }

  function drawAxes(drawing) {
    const { left, right, top, bottom, x, y } = frame;
    const marks = data.axis.ticks.map((e) => [e, e === 0 ? "1" : `1e${e}`.replace("e-", "e−")]);
    if (data.axis.zero !== null) marks.push([data.axis.zero, "0"]);
    for (const [at, name] of marks) {
      svg("line", { class: "grid", x1: left, x2: right, y1: y(at), y2: y(at) }, drawing);
      label(drawing, name, { x: left - 8, y: y(at) + 4, "text-anchor": "end" });
    }
    svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }, drawing);
    svg("line", { class: "axis", x1: left, x2: left, y1: top, y2: bottom }, drawing);
    const raw = data.last / (frame.labelled ? 6 : 4);
    const ten = 10 ** Math.floor(Math.log10(raw));
    const step = Math.max(1, [1, 2, 5, 10].find((m) => m * ten >= raw) * ten);
    for (let i = 0; i <= data.last; i += step) {
      svg("line", { class: "axis", x1: x(i), x2: x(i), y1: bottom, y2: bottom + 4 }, drawing);
      label(drawing, i.toLocaleString("en"), { x: x(i), y: bottom + 19, "text-anchor": "middle" });
    }
    label(drawing, "iteration", { x: (left + right) / 2, y: bottom + 38, "text-anchor": "middle" });
    for (const one of data.dtypes) {
      const at = y(Math.log10(one.u2));
      const other = one.name === dtype ? "" : " other";
      svg("line", { class: `u2${other}`, x1: left, x2: right, y1: at, y2: at }, drawing);
      label(drawing, `u² of ${one.name} = ${mse(one.u2)}`, { class: `mark${other}`, x: left + 8, y: at + 14 });
    }
  }

  function pathOf(curve) {
    let path = "";
    let pen = "M";
    curve.median.forEach((value, i) => {
      const at = level(value);
      if (at === null) {
        pen = "M";
        return;
      }
      path += `${pen}${frame.x(curve.x[i]).toFixed(1)},${frame.y(at).toFixed(1)}`;
      pen = "L";
    });
    return isDirect(curve) && path ? `${path.replace(/^M[^,]*/, `M${frame.left}`)}H${frame.right}` : path;
  }

  function bandOf(curve) {
    const xs = isDirect(curve) ? [frame.left, frame.right] : curve.x.map(frame.x);
    const top = [];
    const bottom = [];
    xs.forEach((x, i) => {
      const row = isDirect(curve) ? 0 : i;
      const [low, high] = [level(curve.q25[row]), level(curve.q75[row])];
      if (low === null || high === null) return;
      top.push(`${x.toFixed(1)},${frame.y(high).toFixed(1)}`);
      bottom.unshift(`${x.toFixed(1)},${frame.y(low).toFixed(1)}`);
    });
    return top.length ? `M${top.concat(bottom).join("L")}Z` : "";
  }

  function drawCurves(drawing) {
    const clip = svg("clipPath", { id: "plot" }, svg("defs", {}, drawing));
    const { left, right, top, bottom } = frame;
    svg("rect", { x: left, y: top, width: right - left, height: bottom - top }, clip);
    const area = svg("g", { "clip-path": "url(#plot)" }, drawing);
    for (const curve of visible()) {
      const solver = data.solvers[curve.solver];
      const group = coloured(svg("g", {}, area), curve.solver);
      svg("path", { class: "band", d: bandOf(curve) }, group);
      const dash = solver.dash.map((part) => (part * 2).toFixed(1)).join(" ");
      const kind = isDirect(curve) ? "curve direct" : "curve";
      svg("path", { class: kind, d: pathOf(curve), "stroke-dasharray": dash || "none" }, group);
    }
  }

  // Where a curve was last seen, in pixels: its last point, or the place where it left the chart at the top.
  function lastSeen(curve) {
    const levels = curve.median.map(level);
    const within = levels.map((at) => at !== null && at <= data.axis.high);
    const end = levels.length - 1;
    if (within[end]) return [isDirect(curve) ? frame.right : frame.x(curve.x[end]), frame.y(levels[end])];
    return [frame.x(curve.x[Math.min(within.lastIndexOf(true) + 1, end)]), frame.top];
  }

  function drawEnds(drawing) {
    if (!frame.labelled) return;
    const curves = visible();
    const stacked = curves.length <= 10;
    const ends = curves.map(lastSeen);
    const places = spread(ends.map(([, y]) => y), stacked ? 33 : 17, frame.top + 8, frame.bottom - 8);
    const room = Math.floor((frame.width - frame.right - 36) / 6.9) - (stacked ? 0 : 9);
    curves.forEach((curve, i) => {
      const [x, y] = ends[i];
      const group = coloured(svg("g", {}, drawing), curve.solver);
      const { name } = data.solvers[curve.solver];
      const half = Math.floor(room / 2);
      const short = name.length > room ? `${name.slice(0, half - 1)}…${name.slice(1 - half)}` : name;
      svg("path", { class: "leader", d: `M${x + 5},${y}L${frame.right + 8},${y}L${frame.right + 22},${places[i]}` }, group);
      const text = svg("text", { class: "end", y: places[i] - (stacked ? 3 : -4) }, group);
      const far = frame.right + 27;
      svg("tspan", { x: far }, text).textContent = short;
      const value = svg("tspan", stacked ? { x: far, dy: 15 } : { dx: 7 }, text);
      value.textContent = mse(curve.median[curve.median.length - 1]);
      svg("title", {}, text).textContent = name;
    });
  }

  function drawCursor() {
    const layer = chart.querySelector(".reading");
    layer.replaceChildren();
    const x = frame.x(cursor);
    svg("line", { class: "cursor", x1: x, x2: x, y1: frame.top, y2: frame.bottom }, layer);
    for (const curve of visible()) {
      const at = level(curve.median[rowAt(curve, cursor)]);
      if (at === null || at > data.axis.high) continue;
      const beyond = !isDirect(curve) && cursor > curve.x[curve.x.length - 1];
      const place = beyond ? frame.x(curve.x[curve.x.length - 1]) : x;
      coloured(drawMarker(data.solvers[curve.solver].marker, place, frame.y(at), layer), curve.solver);
    }
  }

  function draw() {
    frame = layout();
    const { width, height } = frame;
    const said = `Error against iteration in ${dtype}, logarithmic; the list below gives the values.`;
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": said });
    drawAxes(drawing);
    drawCurves(drawing);
    drawEnds(drawing);
    svg("g", { class: "reading" }, drawing);
    chart.replaceChildren(drawing);
    drawCursor();
  }

  // ---- reading values off ---------------------------------------------------------------------------------------
  function readValues() {
    reading.textContent = `at iteration ${cursor.toLocaleString("en")} of ${data.last.toLocaleString("en")}`;
    const spoken = [];
    data.solvers.forEach((solver, index) => {
      const button = find("legend").children[index].firstElementChild;
      const curve = data.curves.find((one) => one.solver === index && one.dtype === dtype);
      button.disabled = !curve;
      const value = button.querySelector(".value");
      if (!curve) {
        value.replaceChildren(html("small", "", `not run in ${dtype}`));
        return;
      }
      const row = rowAt(curve, cursor);
      const median = mse(curve.median[row]);
      let range = [...new Set([mse(curve.q25[row]), mse(curve.q75[row])])].join(" – ");
      if (isDirect(curve)) range += ", direct";
      else if (curve.x[row] !== cursor) range += `, at ${curve.x[row]}`;
      value.replaceChildren(median, html("small", "", range));
      if (shown[index]) spoken.push(`${solver.name} ${median}`);
    });
    slider.value = cursor;
    slider.setAttribute("aria-valuetext", `iteration ${cursor}: ${spoken.join(", ")}`);
  }

  function moveTo(iteration) {
    cursor = Math.min(Math.max(Math.round(iteration), 0), data.last);
    drawCursor();
    readValues();
  }

  function follow(event) {
    const box = chart.getBoundingClientRect();
    const part = ((event.clientX - box.left) * (frame.width / box.width) - frame.left) / (frame.right - frame.left);
    moveTo(part * data.last);
  }

  // ---- controls -------------------------------------------------------------------------------------------------
  function buildDtypes() {
    const group = find("dtypes");
    group.hidden = data.dtypes.length < 2;
    for (const { name } of data.dtypes) {
      const button = html("button", "", name);
      button.type = "button";
      button.setAttribute("aria-pressed", String(name === dtype));
      button.addEventListener("click", () => {
        dtype = name;
        for (const one of group.children) one.setAttribute("aria-pressed", String(one === button));
        draw();
        readValues();
      });
      group.append(button);
    }
  }

  function buildLegend() {
    data.solvers.forEach((solver, index) => {
      const button = html("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      const sample = coloured(svg("svg", { viewBox: "0 0 42 14", "aria-hidden": "true" }, button), index);
      const dash = solver.dash.map((part) => part * 2).join(" ");
      svg("line", { x1: 0, x2: 42, y1: 7, y2: 7, stroke: "currentColor", "stroke-width": 2.2, "stroke-dasharray": dash || "none" }, sample);
      drawMarker(solver.marker, 21, 7, sample);
      button.append(html("span", "name", solver.name), html("span", "value"));
      button.addEventListener("click", () => {
        shown[index] = !shown[index];
        button.setAttribute("aria-pressed", String(shown[index]));
        draw();
        readValues();
      });
      const item = html("li");
      item.append(button);
      find("legend").append(item);
    });
  }

  parts.themeSwitch();
  buildDtypes();
  buildLegend();
  find("interactive").hidden = false;
  slider.max = String(data.last);
  slider.addEventListener("input", () => moveTo(Number(slider.value)));
  chart.addEventListener("pointermove", follow);
  chart.addEventListener("pointerdown", follow);
  draw();
  readValues();
  find("static").hidden = true;
  root.classList.add("drawn");
  let drawnWidth = chart.clientWidth;
  new ResizeObserver(() => {
    if (chart.clientWidth === drawnWidth) return;
    drawnWidth = chart.clientWidth;
    draw();
  }).observe(chart);
})();
