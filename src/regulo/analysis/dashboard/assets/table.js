// The table of runs. Only the rows in sight are in the page, so that thousands of runs stay quick.

import { announce, byId, copyButton, h, redraw } from "./dom.js";
import { data } from "./data.js";
import { compileFilter, sortRuns } from "./filter.js";
import { formatDuration, formatValue, shortNumber } from "./format.js";
import { LETTERS, MOST_SELECTED, state, toggle, update } from "./state.js";

const ROW_HEIGHT = 36; // pixels, as in the style sheet
const MARGIN = 12; // rows above and below those in sight
const MOST_PRINTED = 500;

let shown = []; // the runs that pass the filter, in order
let cursor = 0; // the row that has the keyboard
let everything = false; // while the page is printed

export const visibleColumns = () => data.columns.filter((c) => (state.columns ? state.columns.includes(c.key) : c.visible));

/** Build what stays: the head, the body, and the keys that they answer to. */
export function startTable() {
  byId("table-scroll").addEventListener("scroll", () => requestAnimationFrame(drawRows), { passive: true });
  new ResizeObserver(drawRows).observe(byId("table-scroll"));
  byId("rows").addEventListener("keydown", onKey);
  byId("filter").addEventListener("input", (event) => update({ q: event.target.value }));
  byId("select-shown").addEventListener("click", () => update({ selected: shown.slice(0, MOST_SELECTED).map((run) => run.key) }));
  byId("select-none").addEventListener("click", () => update({ selected: [] }));
  addEventListener("beforeprint", () => printAll(true));
  addEventListener("afterprint", () => printAll(false));
}

function printAll(whether) {
  everything = whether;
  drawRows();
}

/** Filter, sort and draw. */
export function drawTable() {
  const { passes, problem } = compileFilter(state.q, data.columns);
  shown = sortRuns(data.runs.filter(passes), state.sort, data.columns);
  if (byId("filter").value !== state.q) byId("filter").value = state.q;
  byId("filter").setAttribute("aria-invalid", String(problem !== ""));
  byId("filter-problem").textContent = problem;
  const count = shown.length.toLocaleString("en-US");
  byId("count").textContent = shown.length === data.runs.length ? `${count} runs` : `${count} of ${data.runs.length.toLocaleString("en-US")} runs`;
  const most = Math.min(shown.length, MOST_SELECTED);
  byId("select-shown").textContent = most > 1 ? `Compare the first ${most}` : "Compare it";
  byId("select-shown").hidden = shown.length === 0;
  cursor = Math.min(cursor, Math.max(0, shown.length - 1));
  drawHead();
  drawRows();
}

function drawHead() {
  const cells = visibleColumns().map((column) => {
    const [ascending, descending] = [state.sort === column.key, state.sort === `-${column.key}`];
    const first = column.kind === "text" || column.better === "low" ? column.key : `-${column.key}`;
    const next = ascending ? `-${column.key}` : descending ? column.key : first;
    const arrow = h("span", { "aria-hidden": "true", class: "arrow" }, ascending ? "▲" : descending ? "▼" : "");
    const button = h(
      "button",
      { type: "button", title: column.key, onclick: () => update({ sort: next }) },
      column.title,
      arrow,
    );
    const order = ascending ? "ascending" : descending ? "descending" : "none";
    return h("th", { scope: "col", class: cellClass(column), "aria-sort": order }, button);
  });
  const select = h("th", { scope: "col", class: "select" }, h("span", { class: "offscreen" }, "compare"));
  redraw(byId("head"), h("tr", {}, select, cells));
}

const cellClass = (column) => `${column.kind === "text" ? "text" : "number"} c-${column.key.replace(/[^a-z]/g, "-")}`;

/** Draw the rows in sight, between two empty ones as high as all others. */
export function drawRows() {
  const area = byId("table-scroll");
  const from = everything ? 0 : Math.max(0, Math.floor(area.scrollTop / ROW_HEIGHT) - MARGIN);
  const to = everything ? Math.min(shown.length, MOST_PRINTED) : Math.min(shown.length, from + Math.ceil(area.clientHeight / ROW_HEIGHT) + 2 * MARGIN);
  const columns = visibleColumns();
  const hadFocus = byId("rows").contains(document.activeElement) ? document.activeElement.closest("tr")?.dataset.key : null;
  const rows = shown.slice(from, to).map((run, i) => drawRow(run, from + i, columns));
  const gap = (n) => (n > 0 && !everything ? [h("tr", { class: "gap", "aria-hidden": "true", "data-rows": n }, h("td", { colspan: columns.length + 1 }))] : []);
  byId("rows").replaceChildren(...gap(from), ...rows, ...gap(shown.length - to));
  for (const row of byId("rows").querySelectorAll(".gap td")) row.style.height = `${row.parentElement.dataset.rows * ROW_HEIGHT}px`;
  byId("runs-table").setAttribute("aria-rowcount", shown.length + 1);
  byId("more-rows").textContent = everything && to < shown.length ? `The first ${to} of ${shown.length} runs are printed.` : "";
  byId("no-rows").hidden = shown.length > 0 || data.runs.length === 0;
  if (hadFocus) byId("rows").querySelector(`tr[data-key="${CSS.escape(hadFocus)}"]`)?.focus();
}

function drawRow(run, index, columns) {
  const slot = state.selected.indexOf(run.key);
  const letter = slot >= 0 ? LETTERS[slot] : "";
  const box = h("input", {
    type: "checkbox",
    tabindex: "-1",
    "aria-label": `compare ${run.name}${letter && `: it is ${letter}`}`,
    onchange: () => toggleRun(run),
  });
  box.checked = slot >= 0;
  const mark = slot >= 0 ? h("span", { class: `letter slot-${slot}`, "aria-hidden": "true" }, letter) : null;
  return h(
    "tr",
    {
      tabindex: index === cursor ? "0" : "-1",
      "data-key": run.key,
      "aria-rowindex": index + 2,
      "aria-selected": String(slot >= 0),
      onfocus: () => moveTo(index, false),
      onclick: (event) => event.target.closest("button, input, a, label") ?? toggleRun(run),
    },
    h("td", { class: "select" }, h("label", {}, box, mark)),
    columns.map((column) => drawCell(run, column)),
  );
}

function drawCell(run, column) {
  const settings = { class: cellClass(column) };
  if (column.key === "name") return h("th", { ...settings, scope: "row", title: run.key }, run.pinned ? "★ " : "", run.name);
  if (column.key === "state") return h("td", settings, stateMark(run));
  if (column.key === "reason") return h("td", { ...settings, title: run.reason }, noteOf(run));
  const text = formatValue(run[column.key], column);
  return h("td", { ...settings, title: column.kind === "text" ? text : false }, text);
}

/** State as a word with a sign, so that it does not depend on color. */
export function stateMark(run) {
  return h("span", { class: `state ${run.state}` }, run.state);
}

/** What there is to know about a run that is not done: how far it is, or why it ended and how it goes on. */
function noteOf(run) {
  if (run.state === "running") return progressOf(run);
  return [run.resume ? copyButton(run.resume, "Copy command") : null, run.reason];
}

/** A bar with the time left. */
export function progressOf(run) {
  const share = Math.min(1, run.progress ?? 0);
  const left = run.seconds_left === null ? `epoch ${shortNumber(run.epochs ?? 0)} of ${run.max_epochs ?? "?"}` : `${formatDuration(run.seconds_left)} left`;
  return h(
    "span",
    { class: "progress" },
    h("progress", { max: 1, value: share, "aria-label": `${Math.round(100 * share)}% done` }),
    left,
  );
}

function toggleRun(run) {
  if (toggle(run.key)) {
    const slot = state.selected.indexOf(run.key);
    announce(slot >= 0 ? `${run.name} is compared, as ${LETTERS[slot]}` : `${run.name} is no longer compared`);
  } else {
    announce(`${MOST_SELECTED} runs are compared already`);
    byId("filter-problem").textContent = `${MOST_SELECTED} runs can be compared at once: remove one first.`;
    drawRows();
  }
}

function onKey(event) {
  if (event.target.closest("button")) return;
  const page = Math.max(1, Math.floor(byId("table-scroll").clientHeight / ROW_HEIGHT) - 2);
  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -shown.length, End: shown.length };
  if (event.key in moves) moveTo(Math.max(0, Math.min(shown.length - 1, cursor + moves[event.key])), true);
  else if (event.key === " " || event.key === "Enter") toggleRun(shown[cursor]);
  else return;
  event.preventDefault();
}

/** Give a row the keyboard, and bring it into sight. */
function moveTo(index, focus) {
  cursor = index;
  if (!focus) return;
  const area = byId("table-scroll");
  const head = byId("head").offsetHeight;
  const top = index * ROW_HEIGHT;
  if (top < area.scrollTop) area.scrollTop = top;
  else if (top + ROW_HEIGHT > area.scrollTop + area.clientHeight - head) area.scrollTop = top + ROW_HEIGHT + head - area.clientHeight;
  drawRows();
  byId("rows").querySelector(`tr[aria-rowindex="${index + 2}"]`)?.focus();
}
