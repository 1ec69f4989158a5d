"use strict";
// Elements, numbers and tables. Text only ever enters the page as text: a prompt can never become markup.
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const find = (selector) => document.querySelector(selector);
const words = (name) => name.replaceAll("_", " ");

// Tables travel as columns and rows: a key is written once, not in every row.
function unpack(node) {
  if (Array.isArray(node)) return node.map(unpack);
  if (node === null || typeof node !== "object") return node;
  if (node.columns && node.rows) return node.rows.map((row) => Object.fromEntries(node.columns.map((name, i) => [name, unpack(row[i])])));
  return Object.fromEntries(Object.entries(node).map(([name, child]) => [name, unpack(child)]));
}

// JSON has no infinity: the page's data says "inf".
const value = (cell) => (cell === "inf" ? Infinity : cell === "-inf" ? -Infinity : cell);
const known = (cell) => typeof value(cell) === "number";

function figures(number, digits = 3) {
  if (!known(number)) return "–";
  number = value(number);
  if (!isFinite(number)) return number < 0 ? "−∞" : "∞";
  const size = Math.abs(number);
  if (size >= 1000) return Math.round(number).toLocaleString("en").replace("-", "−");
  const places = size ? Math.max(0, digits - 1 - Math.floor(Math.log10(size))) : 0;
  return number.toFixed(Math.min(places, 6)).replace("-", "−");
}
const fixed = (places) => (number) => (known(number) && isFinite(value(number)) ? value(number).toFixed(places).replace("-", "−") : figures(number));
const percent = (number) => (known(number) ? `${Math.round(100 * value(number))} %` : "–");
const FORMAT = { fid: figures, kid: figures, mmd: fixed(3), l1: fixed(3), perceptual: fixed(3) };
const METRIC = { fid: "FID", kid: "KID", mmd: "MMD", l1: "L1", perceptual: "perceptual distance" };

// A sortable table. column: {key, label, title, text, show(row) -> node or text, of(row) -> what is sorted by, heat}
function table(caption, columns, rows, state, rowClass = () => null) {
  const of = (column) => column.of || ((row) => row[column.key]);
  const head = columns.map((column) =>
    el("th", { scope: "col", class: column.text && "text", "data-key": column.key, "aria-sort": "none" },
      el("button", { type: "button", title: column.title, onclick: () => sort(column) }, column.label)));
  const lines = rows.map((row) => ({ row, node: el("tr", { class: rowClass(row) }, columns.map((column, i) => cell(column, row, i))) }));
  const body = el("tbody", {}, lines.map((line) => line.node));
  function cell(column, row, i) {
    const raw = of(column)(row);
    const shown = column.show ? column.show(row) : raw ?? "–";
    const heat = column.heat ? column.heat(row) : null;
    return el(i ? "td" : "th", {
      scope: i ? null : "row", "data-value": raw ?? "", "data-key": column.key,
      class: [column.text && "text", heat !== null && "heat", heat === 0 && "best"].filter(Boolean).join(" ") || null,
      "--h": heat === null ? null : 1 - heat,
    }, shown);
  }
  function order(column, down) {
    const read = of(column);
    const compare = (a, b) => {
      const [x, y] = [value(read(a.row)) ?? null, value(read(b.row)) ?? null];
      if (x === null || y === null) return (x === null) - (y === null); // what is unknown comes last, either way
      const difference = typeof x === "number" && typeof y === "number" ? (x === y ? 0 : x - y) : String(x).localeCompare(String(y), "en", { numeric: true });
      return down ? -difference : difference;
    };
    lines.sort(compare);
    body.append(...lines.map((line) => line.node));
    head.forEach((th, i) => th.setAttribute("aria-sort", columns[i] === column ? (down ? "descending" : "ascending") : "none"));
  }
  function sort(column) {
    const down = state.key === column.key ? !state.down : false;
    Object.assign(state, { key: column.key, down });
    order(column, down);
  }
  const chosen = columns.find((column) => column.key === state.key);
  if (chosen) order(chosen, state.down);
  return el("table", { "aria-label": caption }, el("thead", {}, el("tr", {}, head)), body);
}

const tip = (node, event) => {
  const box = find("#tip");
  box.hidden = !node;
  if (!node) return;
  box.replaceChildren(...node);
  const { width, height } = box.getBoundingClientRect();
  const x = Math.min(event.clientX + 14, innerWidth - width - 8);
  const y = event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18;
  box.style.left = `${Math.max(8, x)}px`;
  box.style.top = `${Math.max(8, y)}px`;
};
