// Bars drawn by hand: a library would be larger than the page.

import { el, number, setText } from "./page-dom.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const LEFT = 44;
const BOTTOM = 24;
const TOP = 10;
const MOST_NAMES = 6;
// Labels every so many bars fall on times that a clock shows too.
const ROUND = [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60];

function svg(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  if (text !== undefined) node.textContent = text;
  return node;
}

// Lines at 1, 2 or 5 times a power of ten: numbers one can read at a glance.
function scale(most) {
  const rough = Math.max(1, most) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough));
  return { step, top: Math.ceil(Math.max(1, most) / step) * step };
}

export function drawBars(box, bars, { label, labelUnit, describe, summary, readout }) {
  const width = Math.max(260, Math.floor(box.clientWidth));
  const chart = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": summary });
  const { step, top } = scale(bars.reduce((most, bar) => Math.max(most, bar.count), 0));
  const inner = HEIGHT - TOP - BOTTOM;
  const y = (count) => TOP + inner - (count / top) * inner;
  for (let line = 0; line <= top; line += step) {
    chart.append(svg("line", { class: line ? "grid" : "axis", x1: LEFT, x2: width, y1: y(line) + 0.5, y2: y(line) + 0.5 }),
      svg("text", { class: "tick", x: LEFT - 8, y: y(line) + 4, "text-anchor": "end" }, number(line)));
  }
  const slot = (width - LEFT) / bars.length;
  const gap = Math.min(4, slot * 0.25);
  const needed = (label(bars[0].start).length * 8 + 28) / slot;
  const labelEvery = ROUND.find((count) => count >= needed && count % labelUnit === 0) ?? Math.ceil(needed / labelUnit) * labelUnit;
  bars.forEach((bar, index) => {
    const x = LEFT + index * slot;
    const column = svg("g", { class: "column" });
    const height = bar.count ? Math.max(2, TOP + inner - y(bar.count)) : 0;
    // The pointer has the whole column to aim at, not only the bar.
    column.append(svg("rect", { class: "aim", x, y: TOP, width: slot, height: inner }),
      svg("rect", { class: "bar-count", x: x + gap / 2, y: TOP + inner - height, width: slot - gap, height, rx: Math.min(3, slot / 5), "data-count": bar.count }));
    column.addEventListener("pointerenter", () => readout(describe(bar)));
    chart.append(column);
    const centre = x + slot / 2;
    const half = label(bar.start).length * 3.5;
    if (bar.ordinal % labelEvery === 0 && centre + half < width && centre > half) {
      chart.append(svg("text", { class: "tick", x: centre, y: HEIGHT - 6, "text-anchor": "middle" }, label(bar.start)));
    }
  });
  chart.addEventListener("pointerleave", () => readout(""));
  box.replaceChildren(chart);
}

export function drawTop(box, groups) {
  box.replaceChildren(...groups.map(({ title, names, empty }) => {
    const top = [...names].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
    const most = top[0]?.[1] ?? 0;
    const list = el("ol", {}, ...top.slice(0, MOST_NAMES).map(([name, count]) => topRow(name, count, most, empty)));
    const rest = top.length - MOST_NAMES;
    return el("div", { class: "top", "data-testid": `stats-top-${title.toLowerCase()}` }, el("h3", {}, title), list,
      top.length === 0 ? el("p", { class: "hint" }, "nothing in this range") : null, rest > 0 ? el("p", { class: "hint" }, `and ${number(rest)} more`) : null);
  }));
}

function topRow(name, count, most, empty) {
  const share = el("i", { "aria-hidden": "true" });
  // Set from here because the content security policy allows no style attributes.
  share.style.inlineSize = `${(count / most) * 100}%`;
  const label = el("span", { class: name === "" ? "name none" : "name", title: name });
  setText(label, name === "" ? empty : name);
  return el("li", {}, label, el("span", { class: "count" }, number(count)), el("span", { class: "track", "aria-hidden": "true" }, share));
}
