// The view: what is chosen, and what follows from it.
function drawStages() {
  const parts = view.recipe.stages || [];
  find("#stages").hidden = !parts.length;
  if (!parts.length) return;
  for (const box of document.querySelectorAll(".graph .stage")) box.setAttribute("aria-pressed", String(box.dataset.part === view.part));
  const finished = parts.reduce((sum, part) => sum + part.artifacts.filter((a) => a[2] === "finished").length, 0);
  const all = parts.reduce((sum, part) => sum + part.artifacts.length, 0);
  about("stages", `${finished} of ${all} artifacts are finished. Solid green: all of a part; dashed: some, or one at work; dotted: none. Arrows say what is made from what, those implied by others left out. Choose a box for its artifacts, their keys and seconds.`);
  const part = parts.find((one) => one.name === view.part);
  find("#stages .listing").replaceChildren(...(part ? [table(`Artifacts of ${part.name}`, [
    { key: "label", label: "artifact", text: true }, { key: "key", label: "key", text: true, show: (r) => el("span", { class: "mono" }, r.key) },
    { key: "state", label: "state", text: true }, { key: "seconds", label: "seconds", show: (r) => (known(r.seconds) ? `${figures(r.seconds)} s` : "–") },
  ], part.artifacts.map(([label, key, state, seconds]) => ({ label, key, state, seconds })), sorts.stages)] : []));
}

function drawLinks() {
  find("#links dl").replaceChildren(...content.recipes.flatMap((recipe) => [
    el("dt", {}, recipe.name), el("dd", {}, recipe.links.map((link) => el("a", { href: link.href }, link.title)))]));
}

function drawChoices() {
  const choice = (name, label, options, current, choose) => (options.length < 2 ? [] : [el("label", {}, label,
    el("select", { name, onchange: (event) => { choose(options[event.target.selectedIndex].value); draw(); } },
      options.map((o) => el("option", { selected: o.value === current ? "" : null }, o.label))))]);
  const unique = (values) => [...new Set(values)].map((v) => ({ value: v, label: words(v) }));
  const { groups, metrics } = view.recipe;
  find("#choices").replaceChildren(
    ...choice("recipe", "recipe", content.recipes.map((r) => ({ value: r, label: r.name })), view.recipe, enter),
    ...choice("base", "base", unique(groups.map((g) => g[0])), view.base, (base) => { view.base = base; view.split = (groups.find((g) => g[0] === base && g[1] === view.split) || groups.find((g) => g[0] === base))[1]; }),
    ...choice("split", "concepts", unique(groups.filter((g) => g[0] === view.base).map((g) => g[1])), view.split, (split) => { view.split = split; }),
    ...choice("metric", "metric", metrics.map((m) => ({ value: m, label: METRIC[m] })), view.metric, (metric) => { view.metric = metric; }),
    ...choice("bands", "intervals", [{ value: "all", label: "of all" }, { value: "ours", label: "of ours" }, { value: "none", label: "on hover" }], view.bands, (bands) => { view.bands = bands; }),
    ...choice("point", "tables at", [{ value: "end", label: "the end" }, { value: "start", label: "step 0" }], view.point, (point) => { view.point = point; }));
  const chip = (m) => el("button", { type: "button", class: "chip m", "data-method": m.name, "aria-pressed": String(shown(m.name)), "--c": m.colour,
    onclick: () => { view.off.has(m.name) ? view.off.delete(m.name) : view.off.add(m.name); draw(); },
    onpointerenter: () => emphasise(shown(m.name) ? m.name : null), onpointerleave: () => emphasise(null) }, el("span", { class: "swatch" }), m.label);
  const some = view.off.size > 0;
  find("#methods").replaceChildren(...view.recipe.methods.map(chip),
    el("button", { type: "button", class: "chip all", onclick: () => { view.off = new Set(some ? [] : view.recipe.methods.map((m) => m.name)); draw(); } }, some ? "all" : "none"));
}

function enter(recipe) {
  const [base, split] = recipe.groups.find((g) => g[0] === view.base && g[1] === view.split) || recipe.groups[0];
  const metric = recipe.metrics.includes(view.metric) ? view.metric : recipe.metrics[0];
  Object.assign(view, { recipe, base, split, metric, part: null, off: new Set(), bands: recipe.methods.length > 6 ? "ours" : "all" });
}

function draw() {
  const focused = document.activeElement && (document.activeElement.name || document.activeElement.dataset.method);
  const { recipe } = view;
  find("#title").textContent = `${recipe.name}: generated weights beside their rivals`;
  document.title = find("#title").textContent;
  const seeds = recipe.seeds.length === 1 ? `seed ${recipe.seeds[0]}` : `${recipe.seeds.length} seeds`;
  find("#provenance").textContent = `${recipe.concepts} unseen concepts, ${seeds}, ${recipe.methods.length} methods; scores with ${recipe.feature_set} features; ${recipe.devices.join(", ")}`;
  for (const section of [drawChoices, drawTiles, drawCurves, drawSummary, drawConcepts, drawImages, drawWins, drawRaces, drawCost, drawNovelty, drawWeights, drawStages, drawLinks]) section();
  if (focused) (document.querySelector(`#choices [name="${focused}"]`) || document.querySelector(`#methods [data-method="${CSS.escape(focused)}"]`))?.focus({ preventScroll: true });
}

for (const box of document.querySelectorAll(".graph .stage")) {
  const choose = () => { view.part = view.part === box.dataset.part ? null : box.dataset.part; drawStages(); };
  for (const [name, text] of Object.entries({ tabindex: "0", role: "button", "aria-label": `${box.dataset.part}: show its artifacts` })) box.setAttribute(name, text);
  box.addEventListener("click", choose);
  box.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); } });
}
let drawn = innerWidth;
addEventListener("resize", () => { if (innerWidth !== drawn) { drawn = innerWidth; drawCurves(); drawNovelty(); } });
enter(view.recipe);
draw();
