// A line chart as SVG: axes, lines with dashes and letters, a cursor that reads the values.

import { announce, h, s } from "./dom.js";
import { shortNumber } from "./format.js";
import { LETTERS } from "./state.js";

const PADDING = { top: 8, right: 30, bottom: 38, left: 52 };
const HEIGHT = 240;
const CLOSE = 12; // pixels between two letters

/**
 * Draw lines into a figure. A line has `name`, `slot` (color, dashes, letter), `faint`, and its points `x`, `y`.
 * Options: title, unit, xTitle, wholeX, log, zero (whether 0 is on the axis), formatX.
 */
export function drawChart(figure, lines, options) {
  const width = Math.max(260, figure.clientWidth);
  const inner = { width: width - PADDING.left - PADDING.right, height: HEIGHT - PADDING.top - PADDING.bottom };
  const usable = lines.map((line) => dropUnusable(line, options.log)).filter((line) => line.x.length);
  const x = scale(extent(usable.map((line) => line.x)), [0, inner.width], false, options.wholeX);
  const y = scale(extent(usable.map((line) => line.y), options.zero && !options.log ? [0] : []), [inner.height, 0], options.log, false, 0.04);
  const plot = s("g", { transform: `translate(${PADDING.left},${PADDING.top})` });
  drawAxes(plot, x, y, inner, options);
  for (const line of usable) plot.append(drawLine(line, x, y));
  drawLetters(plot, usable, x, y, inner);
  const hair = s("line", { class: "hair", y1: 0, y2: inner.height, visibility: "hidden" });
  plot.append(hair);
  const reading = figure.querySelector(".reading") ?? h("p", { class: "reading" });
  reading.replaceChildren();
  const svg = s(
    "svg",
    { width, height: HEIGHT, role: "img", tabindex: "0", "aria-label": describe(usable, options) },
    plot,
  );
  figure.querySelector("svg")?.remove();
  figure.querySelector("h3").after(svg, reading);
  addCursor(svg, hair, reading, usable, x, inner, options);
}

/** Without values that are not finite or, on a logarithmic axis, not positive. */
function dropUnusable(line, log) {
  const usable = line.y.map((value, i) => Number.isFinite(value) && Number.isFinite(line.x[i]) && (!log || value > 0));
  if (usable.every(Boolean)) return line;
  return { ...line, x: line.x.filter((_, i) => usable[i]), y: line.y.filter((_, i) => usable[i]) };
}

function extent(arrays, more = []) {
  let [low, high] = [Infinity, -Infinity];
  for (const values of [...arrays, more]) for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return low > high ? [0, 1] : [low, high];
}

/** A function from values to pixels, with its ticks. */
function scale([low, high], [start, end], log, whole, pad = 0) {
  if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - (pad ? Math.abs(low) / 10 || 1 : 0), high + (Math.abs(high) / 10 || 1)];
  const [a, b] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  const [from, to] = [a - pad * (b - a), b + pad * (b - a)];
  const map = (value) => start + (((log ? Math.log10(value) : value) - from) / (to - from)) * (end - start);
  map.ticks = (log ? logTicks(from, to) : linearTicks(from, to, whole)).filter((tick) => between(map(tick), start, end));
  return map;
}

const between = (value, a, b) => value >= Math.min(a, b) - 0.5 && value <= Math.max(a, b) + 0.5;

function linearTicks(from, to, whole) {
  const rough = (to - from) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].map((n) => n * power).find((candidate) => candidate >= rough);
  if (whole) step = Math.max(1, Math.round(step));
  const first = Math.ceil(from / step - 1e-9);
  return Array.from({ length: Math.floor(to / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

function logTicks(from, to) {
  const ticks = [];
  const digits = to - from > 3 ? [1] : [1, 2, 5];
  for (let power = Math.floor(from); power <= to; power++) for (const digit of digits) ticks.push(digit * 10 ** power);
  return ticks.filter((tick) => Math.log10(tick) >= from).length > 1 ? ticks : linearTicks(10 ** from, 10 ** to).filter((tick) => tick > 0);
}

function drawAxes(plot, x, y, inner, options) {
  for (const tick of y.ticks) {
    plot.append(
      s("line", { class: options.zero && tick === 0 ? "grid zero" : "grid", x1: 0, x2: inner.width, y1: y(tick), y2: y(tick) }),
      s("text", { x: -8, y: y(tick) + 4, "text-anchor": "end" }, tickText(tick)),
    );
  }
  for (const tick of x.ticks) {
    plot.append(s("text", { x: x(tick), y: inner.height + 17, "text-anchor": "middle" }, tickText(tick)));
  }
  const title = s("text", { class: "axis-title", x: inner.width, y: inner.height + 32, "text-anchor": "end" }, options.xTitle);
  plot.append(title, s("line", { class: "axis", x1: 0, x2: inner.width, y1: inner.height, y2: inner.height }));
}

const tickText = (tick) => (Math.abs(tick) >= 10000 && tick % 1000 === 0 && Math.abs(tick) < 1e7 ? `${shortNumber(tick / 1000)}k` : shortNumber(Number(tick.toPrecision(6))));

function drawLine(line, x, y) {
  const path = line.x.map((value, i) => `${i ? "L" : "M"}${x(value).toFixed(1)},${y(line.y[i]).toFixed(1)}`).join("");
  const name = `line slot-${line.slot}${line.faint ? " faint" : ""}`;
  const group = s("g", { class: name }, s("path", { d: path }));
  if (line.x.length < 3) for (const [i, value] of line.x.entries()) group.append(s("circle", { cx: x(value), cy: y(line.y[i]), r: 3 }));
  return group;
}

/** The letter of each run at the end of its line; letters that would cover each other are moved apart. */
function drawLetters(plot, lines, x, y, inner) {
  const ends = lines.filter((line) => !line.faint).map((line) => ({ slot: line.slot, x: x(line.x.at(-1)), y: y(line.y.at(-1)) }));
  ends.sort((a, b) => a.y - b.y || a.slot - b.slot);
  while (ends.length) {
    const column = ends.filter((end) => Math.abs(end.x - ends[0].x) < CLOSE);
    for (const end of column) ends.splice(ends.indexOf(end), 1);
    const heights = spread(column.map((end) => end.y), inner.height);
    column.forEach(({ slot, x: at }, i) => plot.append(s("text", { class: `end slot-${slot}`, x: at + 7, y: heights[i] + 4 }, LETTERS[slot])));
  }
}

/** Increasing heights moved as little as possible, so that neighbors are at least CLOSE apart and all lie on the chart. */
function spread(heights, most) {
  const blocks = []; // of letters that touch each other: how many, and where the first would be
  for (const [i, height] of heights.entries()) {
    let block = { count: 1, first: height - i * CLOSE };
    while (blocks.length && blocks.at(-1).first > block.first) {
      const { count, first } = blocks.pop();
      block = { count: count + block.count, first: (count * first + block.count * block.first) / (count + block.count) };
    }
    blocks.push(block);
  }
  const moved = blocks.flatMap(({ count, first }) => Array(count).fill(first)).map((first, i) => first + i * CLOSE);
  const over = Math.max(0, moved.at(-1) - most);
  return moved.map((height, i) => Math.max(height - over, i * CLOSE));
}

/** What the chart shows, in a sentence. */
function describe(lines, { title, xTitle }) {
  const ends = lines.filter((line) => !line.faint).map((line) => `${LETTERS[line.slot]} ends at ${shortNumber(line.y.at(-1))}`);
  return `${title} by ${xTitle}. ${ends.join(", ")}. Arrow keys read the values; the table below has them all.`;
}

/** The values at the pointer, or where the arrow keys have moved the cursor. */
function addCursor(svg, hair, reading, lines, x, inner, options) {
  const places = [...new Set(lines.filter((line) => !line.faint).flatMap((line) => line.x))].sort((a, b) => a - b);
  if (!places.length) return;
  let index = places.length - 1;
  const show = (speak) => {
    const place = places[index];
    hair.setAttribute("visibility", "visible");
    hair.setAttribute("x1", x(place));
    hair.setAttribute("x2", x(place));
    const values = lines.map((line) => [line, valueAt(line, place)]).filter(([, value]) => value !== null);
    const main = values.filter(([line]) => !line.faint).sort(([a], [b]) => a.slot - b.slot);
    const parts = main.map(([line, value]) => {
      const other = values.find(([faint]) => faint.faint && faint.slot === line.slot);
      return h("span", {}, h("b", { class: `letter slot-${line.slot}` }, LETTERS[line.slot]), ` ${shortNumber(value)}`, other ? h("small", {}, ` ${shortNumber(other[1])}`) : null);
    });
    reading.replaceChildren(h("span", {}, options.formatX(place)), ...parts);
    if (speak) announce([...reading.children].map((part) => part.textContent).join(", "));
  };
  const hide = () => {
    hair.setAttribute("visibility", "hidden");
    reading.replaceChildren();
  };
  svg.addEventListener("pointermove", (event) => {
    const at = event.clientX - svg.getBoundingClientRect().left - PADDING.left;
    index = nearest(places, (place) => Math.abs(x(place) - at));
    show(false);
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: 1, ArrowLeft: -1, Home: -places.length, End: places.length };
    if (!(event.key in moves)) return;
    event.preventDefault();
    index = Math.max(0, Math.min(places.length - 1, index + moves[event.key]));
    show(true);
  });
}

function nearest(values, cost) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (cost(values[i]) < cost(values[best])) best = i;
  return best;
}

/** The value of the last point up to a place; null before the first and after the last. */
function valueAt(line, place) {
  if (place < line.x[0] || place > line.x.at(-1)) return null;
  let [low, high] = [0, line.x.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (line.x[middle] <= place) low = middle;
    else high = middle - 1;
  }
  return line.y[low];
}
