// Figures drawn as SVG at the width that there is.
function ticks(low, high, log) {
  if (log) {
    const decades = Math.log10(high / low);
    const marks = decades < 0.5 ? [1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8] : decades < 1.3 ? [1, 1.5, 2, 3, 5, 7] : decades < 3 ? [1, 2, 5] : [1];
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (const mark of marks) found.push(mark * 10 ** power);
    return found.filter((x) => x >= low && x <= high);
  }
  const rough = (high - low) / 5;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((m) => m * unit >= rough);
  const found = [];
  for (let x = Math.ceil(low / step) * step; x <= high; x += step) found.push(Math.abs(x) < step / 1e6 ? 0 : x);
  return found;
}
const plainTick = (x) => String(Number(x.toPrecision(3)));

// Linear up to 1 s, so that step 0 has a place, logarithmic after.
const bent = (seconds) => (seconds <= 1 ? seconds * 0.6 : 0.6 + Math.log10(seconds));

function frame(width, height, x, y, labels) {
  const box = { left: 58, right: width - 14, top: 10, bottom: height - 44 };
  const px = (v) => box.left + ((x.map(v) - x.map(x.low)) / (x.map(x.high) - x.map(x.low))) * (box.right - box.left);
  const py = (v) => box.bottom - ((y.map(v) - y.map(y.low)) / (y.map(y.high) - y.map(y.low))) * (box.bottom - box.top);
  let last = -99;
  const grid = [
    ...y.ticks.map((v) => [svg("line", { class: "gridline", x1: box.left, x2: box.right, y1: py(v), y2: py(v) }),
      svg("text", { x: box.left - 8, y: py(v) + 4, "text-anchor": "end" }, plainTick(v))]),
    ...x.ticks.filter((v) => px(v) - last > 34 && (last = px(v))).map((v) => [svg("line", { class: "gridline", x1: px(v), x2: px(v), y1: box.top, y2: box.bottom }),
      svg("text", { x: px(v), y: box.bottom + 18, "text-anchor": "middle" }, plainTick(v))]),
    svg("text", { class: "axis-label", x: (box.left + box.right) / 2, y: height - 6, "text-anchor": "middle" }, labels.x),
    svg("text", { class: "axis-label", x: 14, y: (box.top + box.bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${(box.top + box.bottom) / 2})` }, labels.y),
  ];
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": labels.title }, grid);
  return { root, box, px, py };
}

function scale(values, log, pad = 0.05) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (!(high > low)) [low, high] = log ? [low / 1.5, high * 1.5] : [low - 0.5, high + 0.5];
  const map = log ? Math.log : (v) => v;
  const extra = (map(high) - map(low)) * pad;
  const back = log ? Math.exp : (v) => v;
  [low, high] = [back(map(low) - extra), back(map(high) + extra)];
  return { low, high, map, ticks: ticks(low, high, log) };
}

// curves: [{method: {name, label, colour, ours}, points: [[step, seconds, value, low, high]]}] -> <svg>
function lineChart(curves, width, metric, title, bands) {
  const all = curves.flatMap((curve) => curve.points);
  const seconds = Math.max(1, ...all.map((p) => p[1])) * 1.15;
  const x = { low: -0.06, high: seconds, map: bent, ticks: [0, 0.3, ...[1, 3, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5].filter((t) => t <= seconds)] };
  const drawn = (method) => bands === "all" || (bands === "ours" && method.ours);
  const values = curves.flatMap(({ method, points }) => points.flatMap((p) => (drawn(method) ? p.slice(2) : [p[2]])));
  const vertical = scale(values, values.every((v) => v > 0));
  const inside = (v) => Math.min(vertical.high, Math.max(vertical.low, v)); // a band that only shows on hover may be wider
  const { root, box, px, py } = frame(width, width < 560 ? 330 : 430, x, vertical, { x: "training seconds (log above 1 s)", y: `${METRIC[metric]}, lower is better`, title });
  const marks = [];
  for (const { method, points } of curves) {
    const single = points.length === 1;
    const xy = (i) => (p) => `${px(p[1]).toFixed(1)} ${py(inside(p[i])).toFixed(1)}`;
    const spread = single ? [[-0.06], [seconds]].map(([s]) => [0, s, ...points[0].slice(2)]) : points;
    const band = `M${[...spread.map(xy(3)), ...[...spread].reverse().map(xy(4))].join("L")}Z`;
    root.append(svg("g", { class: `curve m${method.ours ? " ours" : ""}`, "data-method": method.name, "--c": method.colour },
      svg("path", { class: drawn(method) ? "band" : "band quiet", d: band }),
      svg("path", { class: single ? "level" : "line", d: `M${spread.map(xy(2)).join("L")}` }),
      single ? [] : points.map((p) => svg("circle", { cx: px(p[1]), cy: py(p[2]), r: method.ours ? 4.6 : 3.4 }))));
    for (const p of points) marks.push({ method, x: px(p[1]), y: py(p[2]), lines: [`step ${p[0]}, ${figures(p[1])} s`, `${METRIC[metric]} ${FORMAT[metric](p[2])} [${FORMAT[metric](p[3])}, ${FORMAT[metric](p[4])}]`] });
  }
  hover(root, marks, box);
  return root;
}

// points: [{method, x, y, lines}] -> <svg>; usual: where training sets lie from one another
function scatterChart(points, width, labels, usual) {
  const x = scale([0, usual, ...points.map((p) => p.x)], false, 0.04);
  const ys = points.map((p) => p.y);
  const { root, box, px, py } = frame(width, width < 560 ? 320 : 400, { ...x, low: 0 }, scale(ys, ys.every((v) => v > 0)), labels);
  root.append(svg("line", { class: "usual", x1: px(usual), x2: px(usual), y1: box.top, y2: box.bottom }),
    svg("text", { x: px(usual) - 6, y: box.top + 12, "text-anchor": "end" }, "training sets from one another"));
  const marks = points.map((p) => ({ ...p, x: px(p.x), y: py(p.y) }));
  for (const mark of marks) root.append(svg("circle", { class: "dot m", "data-method": mark.method.name, "--c": mark.method.colour, cx: mark.x, cy: mark.y, r: mark.method.ours ? 4.6 : 3.6 }));
  hover(root, marks, box);
  return root;
}

// The mark nearest to the pointer speaks, and its method stands out.
function hover(root, marks, box) {
  const leave = () => { tip(null); emphasise(null); };
  root.addEventListener("pointerleave", leave);
  root.addEventListener("pointermove", (event) => {
    const rect = root.getBoundingClientRect();
    const ratio = root.viewBox.baseVal.width / rect.width;
    const [x, y] = [(event.clientX - rect.left) * ratio, (event.clientY - rect.top) * ratio];
    let nearest = null, least = 34;
    for (const mark of marks) {
      const distance = Math.hypot(mark.x - x, mark.y - y);
      if (distance < least) [nearest, least] = [mark, distance];
    }
    if (!nearest) return leave();
    emphasise(nearest.method.name);
    tip([el("b", {}, nearest.method.label), ...nearest.lines.map((line) => el("div", {}, line))], event);
  });
}

function emphasise(name) {
  for (const chart of document.querySelectorAll(".chart")) {
    chart.classList.toggle("focus", Boolean(name));
    for (const node of chart.querySelectorAll("[data-method]")) node.classList.toggle("here", node.dataset.method === name);
  }
}

// An estimate with its interval on a small scale; reference: what it is read against
function intervalBar(estimate, low, high, from, to, reference, log, colour) {
  const map = log ? (v) => Math.log(Math.max(v, 1e-9)) : (v) => v;
  const at = (v) => 4 + 92 * Math.min(1, Math.max(0, (map(v) - map(from)) / (map(to) - map(from) || 1)));
  if (![estimate, low, high].every(known)) return null;
  const [e, l, h] = [estimate, low, high].map((v) => at(value(v)));
  return svg("svg", { width: 100, height: 14, viewBox: "0 0 100 14", "aria-hidden": "true", class: "m", "--c": colour },
    svg("line", { class: "bar-zero", x1: at(reference), x2: at(reference), y1: 0, y2: 14 }),
    svg("line", { class: "bar", x1: l, x2: h, y1: 7, y2: 7 }), svg("circle", { class: "bar-dot", cx: e, cy: 7, r: 3.6 }));
}

// shares per bin: the zoo as an area, what was generated as a line
function histogram(zoo, made, colour) {
  const high = Math.max(...zoo, ...(made || []));
  const w = 200 / zoo.length;
  const outline = (shares) => shares.map((s, i) => `${i ? "L" : "M"}${(i * w).toFixed(1)} ${(64 - (60 * s) / high).toFixed(1)}h${w.toFixed(2)}`).join("");
  return svg("svg", { viewBox: "0 0 200 64", preserveAspectRatio: "none", "aria-hidden": "true", class: "m", "--c": colour },
    svg("path", { class: "hist-zoo", d: `${outline(zoo)}V64H0Z` }),
    made ? svg("path", { class: "hist-made", d: outline(made) }) : null);
}
