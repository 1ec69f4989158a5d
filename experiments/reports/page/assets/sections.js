// Each section draws itself from the recipe's data and the view; it hides where the recipe has nothing for it.
const content = unpack(JSON.parse(find("#content").textContent));
const sorts = { summary: {}, concepts: {}, wins: {}, races: {}, cost: {}, stages: {} };
const view = { recipe: content.recipes[0], base: null, split: null, metric: "fid", point: "end", bands: "all", off: new Set(), part: null };

const method = (name) => view.recipe.methods.find((m) => m.name === name) || { name, label: name, colour: "#888888" };
const shown = (name) => !view.off.has(name);
const here = (rows) => (rows || []).filter((row) => row.base === view.base && row.split === view.split);
const named = (name) => el("span", { class: "name m", "--c": method(name).colour }, el("span", { class: "swatch" }), method(name).label);
const brief = (m) => m.label.replace(/ \(.*\)$/, "");
const oursRow = (row) => (method(row.method).ours ? "ours" : null);
const interval = (row, name, format) => {
  const [low, high] = [row[`${name}_low`], row[`${name}_high`]];
  return [el("span", { class: "estimate" }, format(row[name])), known(low) ? el("span", { class: "range" }, `[${format(low)}, ${format(high)}]`) : null];
};
const about = (section, text) => { find(`#${section} .caption`).textContent = text; };
const put = (section, node) => { find(`#${section}`).hidden = !node; if (node) find(`#${section} .scroll`).replaceChildren(node); };
const width = (section) => Math.max(300, find(`#${section} .chart`).clientWidth);

function drawTiles() {
  const ours = here(view.recipe.summary).find((row) => method(row.method).ours);
  const rival = (rows, where) => here(rows).find((row) => Object.entries(where).every(([key, v]) => row[key] === v));
  const tiles = [];
  const tile = (what, big, small, note) => tiles.push(el("div", { class: "tile" }, el("div", { class: "what" }, what), el("div", { class: "value" }, big, el("small", {}, small)), el("div", { class: "note" }, note)));
  if (ours && known(ours.gap_closed)) tile("Gap closed before any training", fixed(2)(ours.gap_closed), known(ours.gap_closed_low) ? `[${fixed(2)(ours.gap_closed_low)}, ${fixed(2)(ours.gap_closed_high)}]` : "", "0: the base, LoRA at zero. 1: the concept's own trained LoRA.");
  const e2gan = rival(view.recipe.summary, { method: "e2gan" });
  if (ours && e2gan) tile("FID after fine-tuning", figures(ours.fid_end), `E2GAN ${figures(e2gan.fid_end)}`, `Geometric means, ${view.recipe.feature_set} features.`);
  const win = rival(view.recipe.wins, { rival: "e2gan", point: "start", metric: "l1" });
  if (win) tile("Wins over E2GAN at step 0", percent(win.win_rate), `[${percent(win.win_rate_low)}, ${percent(win.win_rate_high)}]`, `L1 on ${win.pairs} pairs of ${win.concepts} concepts; sign test p ${figures(win.p_value, 2)}.`);
  const race = rival(view.recipe.races, { target: "e2gan", method: ours ? ours.method : null });
  if (race) tile("Speed-up to E2GAN's last FID", known(race.speedup) ? `${figures(race.speedup, 2)}×` : "never", `[${figures(race.speedup_low, 2)}, ${figures(race.speedup_high, 2)}]`, `${race.censored} of ${race.runs} runs never get there.`);
  find("#tiles").replaceChildren(...tiles);
}

function drawCurves() {
  const curves = here(view.recipe.curves).filter((c) => c.metric === view.metric && c.points.length && shown(c.method)).map((c) => ({ ...c, method: method(c.method) }));
  curves.sort((a, b) => Number(a.method.ours) - Number(b.method.ours)); // ours is drawn last, above
  const chart = find("#curves .chart");
  const title = `${METRIC[view.metric]} against training seconds, ${words(view.split)}: ${curves.map((c) => c.method.label).join(", ")}`;
  chart.replaceChildren(curves.length ? lineChart(curves, width("curves"), view.metric, title, view.bands) : el("p", { class: "none" }, "Every method is switched off."));
  about("curves", `${view.metric === "fid" ? "Geometric" : "Arithmetic"} mean over concepts and seeds at the steps that all runs of a method measured; bands are 95 % bootstrap intervals over concepts, then seeds. ` +
    `Seconds exclude evaluation and include making the weights. A dotted level is a method that is not trained further.${["fid", "kid", "mmd"].includes(view.metric) ? ` ${METRIC[view.metric]} is of ${view.recipe.feature_set} features and compares within this page only${view.recipe.feature_set === "inception" ? " and with others of Inception's" : ""}.` : ""}`);
}

function drawSummary() {
  const rows = here(view.recipe.summary).filter((row) => shown(row.method));
  const gaps = rows.flatMap((row) => [row.gap_closed_low, row.gap_closed_high]).filter(known);
  const [from, to] = [Math.max(-1.5, Math.min(0, ...gaps)), Math.max(1, ...gaps)];
  put("summary", rows.length ? table("Methods", [
    { key: "method", label: "method", text: true, of: (r) => method(r.method).label, show: (r) => named(r.method) },
    ...["fid", "l1"].flatMap((m) => [
      { key: `${m}_start`, label: `${METRIC[m]} at step 0`, show: (r) => FORMAT[m](r[`${m}_start`]) },
      { key: `${m}_end`, label: `${METRIC[m]} at the end`, show: (r) => FORMAT[m](r[`${m}_end`]) }]),
    { key: "gap_closed", label: "gap closed at step 0", title: "0: the base with LoRA at zero; 1: the concept's own trained LoRA; on L1", show: (r) => [interval(r, "gap_closed", fixed(2)), intervalBar(r.gap_closed, r.gap_closed_low, r.gap_closed_high, from, to, 0, false, method(r.method).colour)] },
    { key: "seconds", label: "seconds of training", show: (r) => `${figures(r.seconds)} s` },
    { key: "seconds_to_target", label: "seconds to pix2pix's FID", show: (r) => (known(r.seconds_to_target) ? `${figures(r.seconds_to_target)} s` : el("span", { class: "none" }, r.censored === null ? "–" : "never")) },
    { key: "collapsed", label: "runs that draw nothing", show: (r) => (r.collapsed ? `${r.collapsed} collapsed` : "") },
    { key: "censored", label: "censored runs: never there", show: (r) => (known(r.censored) ? `${r.censored} of ${r.concepts * r.seeds}` : "–") },
  ], rows, sorts.summary, oursRow) : null);
  if (rows.length) about("summary", `${rows[0].concepts} concepts, ${rows[0].seeds} ${rows[0].seeds === 1 ? "seed" : "seeds"}. Gap closed: how far the start is from the base (0) to the concept's own trained LoRA (1), on L1 to targets of photos never trained on, with its 95 % bootstrap interval. Seconds to pix2pix's FID are medians: “never” where most runs do not get there.`);
}

function drawConcepts() {
  const metric = view.metric, key = `${metric}_${view.point}`, rows = new Map();
  for (const row of here(view.recipe.per_concept)) if (shown(row.method)) rows.set(row.concept, { ...(rows.get(row.concept) || { concept: row.concept, prompt: row.prompt }), [row.method]: row[key] });
  const methods = view.recipe.methods.filter((m) => [...rows.values()].some((row) => m.name in row));
  const rank = (row, name) => { // 0: the best of its row, 1: the worst
    const all = methods.map((m) => row[m.name]).filter(known).map((v) => Math.max(v, 1e-12));
    const [low, high] = [Math.min(...all), Math.max(...all)];
    return known(row[name]) && high > low ? Math.log(Math.max(row[name], 1e-12) / low) / Math.log(high / low) : null;
  };
  put("concepts", methods.length ? table("Concepts", [
    { key: "prompt", label: "concept", text: true, show: (r) => el("span", { class: "prompt" }, r.prompt) },
    ...methods.map((m) => ({ key: m.name, label: brief(m), title: m.label, show: (r) => FORMAT[metric](r[m.name]), heat: (r) => rank(r, m.name) })),
  ], [...rows.values()], sorts.concepts) : null);
  about("concepts", `${METRIC[metric]} ${view.point === "end" ? "after fine-tuning" : "before any fine-tuning (step 0)"}, mean over seeds. The greener a cell, the closer to the best method of its row, which is bold. pix2pix trains for longer than the others.`);
}

function drawImages() {
  const grid = (view.recipe.images || []).filter((one) => one.split === view.split);
  const picture = (one, source, what) => (source ? el("img", { src: source, alt: `${one.prompt}: ${what}`, title: what }) : null);
  const line = (name, cells, rule) => el("tr", { class: rule && "rule" }, el("th", { scope: "row" }, name), cells);
  const rows = grid.length ? [line("photo, target", grid.map((one) => el("td", {}, picture(one, one.photo, "photo"), picture(one, one.target, "target"))), true)] : [];
  for (const m of view.recipe.methods) {
    const outputs = grid.map((one) => one.outputs.find((output) => output.method === m.name));
    if (!shown(m.name) || !outputs.some(Boolean)) continue;
    rows.push(line(named(m.name), grid.map((one, i) => el("td", {}, outputs[i] ? [picture(one, outputs[i].start, `${m.label}, step 0`), picture(one, outputs[i].end, `${m.label}, step ${outputs[i].steps}`)] : null))));
  }
  put("images", grid.length ? el("table", { class: "images", "aria-label": "Images" },
    el("thead", {}, el("tr", {}, el("th", {}, ""), grid.map((one) => el("th", { scope: "col" }, el("span", { class: "prompt" }, one.prompt))))), el("tbody", {}, rows)) : null);
  about("images", "One photo that was never trained on for each concept. Left: before any fine-tuning. Right: after it (the own LoRA has no right image: it is not trained further).");
}

function drawWins() {
  const rows = here(view.recipe.wins).filter((r) => r.point === (view.point === "end" ? "end" : "start") && r.metric === (view.metric === "l1" ? "l1" : "fid") && shown(r.rival));
  const ends = rows.flatMap((r) => [r.ratio_low, r.ratio_high]).filter(known);
  const far = Math.min(10, Math.max(1.2, ...ends, ...ends.map((v) => 1 / v)));
  put("wins", rows.length ? table("Wins", [
    { key: "rival", label: "rival", text: true, of: (r) => method(r.rival).label, show: (r) => named(r.rival) },
    { key: "win_rate", label: "wins", show: (r) => [interval(r, "win_rate", percent), intervalBar(r.win_rate, r.win_rate_low, r.win_rate_high, 0, 1, 0.5, false, method(r.rival).colour)] },
    { key: "ratio", label: "ours / rival", show: (r) => [interval(r, "ratio", fixed(2)), intervalBar(r.ratio, r.ratio_low, r.ratio_high, 1 / far, far, 1, true, method(r.rival).colour)] },
    { key: "p_value", label: "sign test p", show: (r) => figures(r.p_value, 2) },
    { key: "concepts", label: "concepts" }, { key: "pairs", label: "pairs" },
  ], rows, sorts.wins) : null);
  if (rows.length) about("wins", `${METRIC[rows[0].metric]} ${view.point === "end" ? "after fine-tuning, each at its own last step" : "at step 0"}. Wins: share of pairs of concept and seed where ours is lower, ties half. Ours / rival: geometric mean, below 1 is better for ours. Intervals: 95 % bootstrap over concepts, then seeds. The sign test counts concepts.`);
}

const never = () => el("span", { class: "none" }, "never");
const duration = (s) => (known(s) && isFinite(value(s)) ? `${figures(s)} s` : never());

// Rows of one subject (a method, a rival) for several targets -> one row, its cells named "<target> <column>".
function pivot(rows, subject, columns) {
  const lines = new Map();
  for (const row of rows) {
    const line = lines.get(row[subject]) || { ...row };
    for (const column of columns) line[`${row.target} ${column}`] = row[column];
    lines.set(row[subject], line);
  }
  return [[...lines.values()], [...new Set(rows.map((row) => row.target))]];
}

function drawRaces() {
  const [rows, targets] = pivot(here(view.recipe.races).filter((r) => shown(r.method)), "method", ["seconds_to_target", "speedup", "speedup_low", "speedup_high", "censored", "runs"]);
  put("races", rows.length ? table("Races", [
    { key: "method", label: "method", text: true, of: (r) => method(r.method).label, show: (r) => named(r.method) },
    ...targets.flatMap((t) => [
      { key: `${t} seconds_to_target`, label: `seconds to the last FID of ${brief(method(t))}`, show: (r) => duration(r[`${t} seconds_to_target`]) },
      { key: `${t} speedup`, label: "speed-up over it", show: (r) => (value(r[`${t} speedup_high`]) === 0 ? "–" : interval(r, `${t} speedup`, (v) => (!known(v) ? "never" : value(v) ? `${figures(v, 2)}×` : "0"))) },
      { key: `${t} censored`, label: "censored runs: never there", show: (r) => (known(r[`${t} runs`]) ? `${r[`${t} censored`]} of ${r[`${t} runs`]}` : "–") }]),
  ], rows, sorts.races, oursRow) : null);
  about("races", "Median seconds of training until the FID is as low as the target's last one on the same concept and seed, at the points that were measured; speed-up over the target's own time, a run that never gets there counting as 0, with its 95 % bootstrap interval; “never” where the middle run does not get there.");
}

function drawCost() {
  const [rows, targets] = pivot(here(view.recipe.cost).filter((r) => shown(r.rival)), "rival", ["rival_seconds_per_concept", "seconds_per_concept", "break_even_concepts"]);
  const pays = (n) => (!known(n) ? "–" : !isFinite(value(n)) ? never() : n > 0 ? Math.ceil(n).toLocaleString("en") : "the first");
  put("cost", rows.length ? table("Cost", [
    { key: "rival", label: "rival", text: true, of: (r) => method(r.rival).label, show: (r) => named(r.rival) },
    { key: "rival_fixed_seconds", label: "rival, once", show: (r) => duration(r.rival_fixed_seconds) },
    { key: "fixed_seconds", label: "ours, once", show: (r) => duration(r.fixed_seconds) },
    ...targets.flatMap((t) => [
      { key: `${t} rival_seconds_per_concept`, label: `rival, to the last FID of ${brief(method(t))}`, show: (r) => duration(r[`${t} rival_seconds_per_concept`]) },
      { key: `${t} seconds_per_concept`, label: "ours, to it", show: (r) => duration(r[`${t} seconds_per_concept`]) },
      { key: `${t} break_even_concepts`, label: "pays from concept", show: (r) => pays(r[`${t} break_even_concepts`]) }]),
  ], rows, sorts.cost) : null);
  if (rows.length) about("cost", `Seconds spent once, before any new concept, and on each. Once, on this device and summed over processes: pairs ${figures(rows[0].pairs_seconds)} s, base ${figures(rows[0].base_seconds)} s, zoo ${figures(rows[0].zoo_seconds)} s, denoiser ${figures(rows[0].denoiser_seconds)} s. Never: most runs do not get to that FID, or the rival needs no longer for a concept.`);
}

function drawNovelty() {
  const score = view.metric === "fid" ? "fid_start" : "l1_start", metric = view.metric === "fid" ? "fid" : "l1";
  const rows = here(view.recipe.novelty).filter((r) => known(r[score]) && known(r.nearest_distance));
  find("#novelty").hidden = !rows.length;
  if (!rows.length) return;
  const points = rows.filter((r) => shown(r.method)).map((r) => ({ method: method(r.method), x: r.nearest_distance, y: r[score],
    lines: [`${words(r.concept)}, seed ${r.seed}`, `${METRIC[metric]} at step 0: ${FORMAT[metric](r[score])}`, `${fixed(2)(r.nearest_distance)} from ${r.nearest}, ${fixed(2)(r.interpolation_distance)} from the best blend`] }));
  const labels = { x: "distance to the nearest training set (units of the zoo's spread)", y: `${METRIC[metric]} at step 0`, title: `Novelty of weight sets against ${METRIC[metric]} at step 0` };
  find("#novelty .chart").replaceChildren(points.length ? scatterChart(points, width("novelty"), labels, rows[0].train_distance) : el("p", { class: "none" }, "Every method is switched off."));
  about("novelty", "A point for each weight set a method starts from. At 0 it is a copy of a training set; the dashed line is the usual distance of a training set from its nearest neighbour. Lower is better, further right is newer.");
}

function drawWeights() {
  const layers = view.recipe.weights || [], ours = view.recipe.methods.find((m) => m.ours);
  find("#weights").hidden = !layers.length;
  find("#weights .multiples").replaceChildren(...layers.map((layer) => el("figure", { "data-layer": layer.layer },
    histogram(layer.zoo, ours && shown(ours.name) ? layer.generated : null, ours ? ours.colour : "#888888"),
    el("figcaption", {}, el("span", { class: "mono" }, layer.layer), el("span", { class: "range" }, `${layer.shape.join(" × ")}, ±${figures(layer.range, 2)}; RMS ${figures(layer.zoo_rms, 2)}${known(layer.generated_rms) ? `, generated ${figures(layer.generated_rms, 2)}` : ""}`)))));
  about("weights", "Shares of weights by value. Grey: the zoo, all training sets. Line: weights generated for unseen concepts. Values beyond the range count in the last bins.");
}
