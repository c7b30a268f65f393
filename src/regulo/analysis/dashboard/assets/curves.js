// The curves of the compared runs, one chart for each quantity.

import { byId, h, redraw } from "./dom.js";
import { data, loadDetails, own } from "./data.js";
import { drawChart } from "./chart.js";
import { formatDuration, shortNumber } from "./format.js";
import { LETTERS, selection, state, update } from "./state.js";

const PANELS = [
  { name: "accuracy", title: "Accuracy, %", keys: ["val/acc", "train_clean/acc"], factor: 100 },
  { name: "loss", title: "Loss (NLL), nats", keys: ["val/loss", "train_clean/loss"] },
  { name: "gap", title: "Gap in accuracy, points", keys: ["gap/acc"], factor: 100, zero: true },
  { name: "gap_loss", title: "Gap in loss, nats", keys: ["gap/loss"], zero: true },
  { name: "train_loss", title: "Training loss, with mixing and penalties", keys: ["train/loss"] },
  { name: "train_acc", title: "Accuracy on training batches, %", keys: ["train/acc"], factor: 100 },
  { name: "lr", title: "Learning rate", keys: ["lr"] },
  { name: "rate", title: "Images per second", keys: ["train/images_per_second"] },
  { name: "grad_norm", title: "Norm of the gradient", keys: ["train/grad_norm"] },
];
const USUAL = ["accuracy", "loss", "gap", "lr"];
const TITLES = { "val/acc": "validation", "train_clean/acc": "clean train", "val/loss": "validation", "train_clean/loss": "clean train" };
const AXES = { epoch: "epoch", step: "step", time: "minutes" };
const MOST_ROWS = 60; // of the table of values

let current = []; // [key, slot, details] of the compared runs

/** Build the controls. */
export function startCurves() {
  byId("axis").addEventListener("change", (event) => update({ x: event.target.value }));
  byId("log").addEventListener("change", (event) => update({ log: event.target.checked }));
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (Math.abs(entry.contentRect.width - width) < 1) return;
    width = entry.contentRect.width;
    drawPanels();
  }).observe(byId("charts"));
}

/** Load the curves of the compared runs, then draw them. */
export async function drawCurves() {
  const wanted = selection().filter(([key]) => data.byKey.has(key));
  const loaded = await Promise.all(wanted.map(async ([key, slot]) => [key, slot, await loadDetails(key)]));
  if (JSON.stringify(wanted) !== JSON.stringify(selection().filter(([key]) => data.byKey.has(key)))) return; // chosen anew meanwhile
  current = loaded;
  drawPanels();
}

function drawPanels() {
  const curves = current.map(([, , details]) => details.curves ?? {});
  const panels = allPanels(curves);
  drawPanelChoice(panels);
  byId("axis").value = own(AXES, state.x) ? state.x : "epoch";
  byId("log").checked = state.log;
  const chosen = panels.filter((panel) => (state.panels ?? USUAL).includes(panel.name));
  const area = byId("charts");
  const old = new Map([...area.children].map((figure) => [figure.dataset.panel, figure]));
  area.replaceChildren(...chosen.map((panel) => old.get(panel.name) ?? newFigure(panel)));
  for (const panel of chosen) drawPanel(area.querySelector(`[data-panel="${CSS.escape(panel.name)}"]`), panel);
  byId("curves-hint").textContent = curvesHint(curves);
}

/** The known panels that have a curve, and one for each other column, such as a penalty. */
function allPanels(curves) {
  const present = new Set(curves.flatMap(Object.keys));
  const covered = new Set(PANELS.flatMap((panel) => panel.keys));
  const others = [...present].filter((key) => !covered.has(key)).sort();
  const more = others.map((key) => ({ name: key, title: key.replace("train/penalty/", "Penalty: "), keys: [key] }));
  return [...PANELS.filter((panel) => panel.keys.some((key) => present.has(key))), ...more];
}

function drawPanelChoice(panels) {
  const chosen = new Set(state.panels ?? USUAL);
  const boxes = panels.map((panel) => {
    const box = h("input", { type: "checkbox", onchange: () => choosePanel(panel.name, box.checked) });
    box.checked = chosen.has(panel.name);
    return h("label", {}, box, panel.title);
  });
  const names = panels.map((panel) => panel.name);
  const choosePanel = (name, isVisible) => {
    if (isVisible) chosen.add(name);
    else chosen.delete(name);
    update({ panels: names.filter((candidate) => chosen.has(candidate)) });
  };
  redraw(byId("panel-choice"), ...boxes);
}

function newFigure(panel) {
  const body = h("div", { class: "wide" });
  const details = h("details", { ontoggle: () => details.open && fillTable(body, panel) }, h("summary", {}, "Values"), body);
  return h("figure", { "data-panel": panel.name }, h("h3", {}, panel.title), details);
}

function drawPanel(figure, panel) {
  const lines = panelLines(panel);
  const log = state.log && panel.name !== "accuracy";
  drawChart(figure, lines, { title: panel.title, xTitle: axisTitle(), wholeX: state.x !== "time", log, zero: panel.zero, formatX });
  const details = figure.querySelector("details");
  if (details.open) fillTable(details.querySelector(".wide"), panel);
}

const axisTitle = () => own(AXES, state.x) ?? AXES.epoch;
const placeText = (value) => (state.x === "time" ? formatDuration(60 * value) : shortNumber(Number(value.toFixed(2))));
const formatX = (value) => `${state.x === "time" ? "" : `${axisTitle()} `}${placeText(value)}`;

/** The lines of a panel: of each run the first key as a bold line, the second as a faint one. */
function panelLines(panel) {
  const lines = [];
  for (const [key, slot, details] of current) {
    panel.keys.forEach((column, i) => {
      const curve = own(details.curves, column);
      const x = own(curve, own(AXES, state.x) ? state.x : "epoch");
      if (!x) return;
      const y = panel.factor ? curve.value.map((value) => (value === null ? NaN : value * panel.factor)) : curve.value.map((value) => value ?? NaN);
      lines.push({ name: data.byKey.get(key)?.name, slot, faint: i > 0, column, x: state.x === "time" ? x.map((v) => v / 60) : x, y });
    });
  }
  return lines.reverse(); // the first run is drawn last, on top
}

/** The values as a table: a text alternative, and numbers to copy. */
function fillTable(body, panel) {
  const lines = panelLines(panel).reverse();
  const places = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const step = Math.ceil(places.length / MOST_ROWS);
  const rows = places.filter((_, i) => i % step === 0 || i === places.length - 1);
  const head = lines.map((line) => h("th", { scope: "col" }, h("b", { class: `letter slot-${line.slot}` }, LETTERS[line.slot]), ` ${own(TITLES, line.column) ?? ""}`));
  const values = lines.map((line) => new Map(line.x.map((x, i) => [x, line.y[i]])));
  const bodyRows = rows.map((place) =>
    h("tr", {}, h("th", { scope: "row" }, placeText(place)), values.map((value) => h("td", {}, value.has(place) ? shortNumber(value.get(place)) : "–"))),
  );
  const caption = h("caption", {}, step > 1 ? `Each ${step}th of ${places.length} points, and the last` : `All ${places.length} points`);
  body.replaceChildren(h("table", {}, caption, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, axisTitle()), head)), h("tbody", {}, bodyRows)));
}

function curvesHint(curves) {
  const hints = [];
  const all = curves.flatMap(Object.values);
  if (all.some((curve) => curve.points > curve.value.length)) hints.push("Of long curves, the lowest and the highest value of each part are drawn. Nothing is smoothed.");
  if (state.x === "time" && all.some((curve) => curve.time_estimated)) hints.push("Times are estimated: these runs logged none, so every step counts the same.");
  if (state.log) hints.push("Accuracy keeps its linear axis; values that are not positive have no place on a logarithmic one.");
  return hints.join(" ");
}
