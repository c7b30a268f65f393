// The compared runs side by side: who they are, how their configurations differ, and their figures.

import { byId, copyButton, h, redraw } from "./dom.js";
import { data, figureAddress, loadDetails, own } from "./data.js";
import { formatDate, formatDuration, formatValue } from "./format.js";
import { reportLink } from "./controls.js";
import { LETTERS, selection, state, toggle, update } from "./state.js";
import { progressOf, stateMark } from "./table.js";

const CARD_SCORES = ["test/acc", "test/loss", "gap/acc"];
const FIGURE_TITLES = { samples: "What the network saw", confusion: "Confusion", mistakes: "Worst mistakes" };

const chosenRuns = () => selection().map(([key, slot]) => [data.byKey.get(key), slot, key]);

/** Draw all that depends on the selection, but for the curves. */
export async function drawComparison() {
  const chosen = chosenRuns();
  byId("comparison").hidden = chosen.length === 0;
  byId("select-none").hidden = chosen.length === 0;
  redraw(byId("cards"), ...chosen.map(([run, slot, key]) => (run ? drawCard(run, slot) : drawMissing(key, slot))));
  const present = chosen.filter(([run]) => run);
  const details = await Promise.all(present.map(([run]) => loadDetails(run.key)));
  if (JSON.stringify(chosen.map(([, , key]) => key)) !== JSON.stringify(selection().map(([key]) => key))) return; // chosen anew meanwhile
  const runs = present.map(([run, slot], i) => ({ run, slot, details: details[i] }));
  drawProblems(runs);
  drawConfigurations(runs);
  drawFigures(runs);
}

function drawCard(run, slot) {
  const scores = CARD_SCORES.map((key) => data.columns.find((column) => column.key === key)).filter((column) => column && run[column.key] !== null && run[column.key] !== undefined);
  return h(
    "li",
    { class: `card slot-${slot}` },
    h(
      "header",
      {},
      h("span", { class: `letter slot-${slot}` }, LETTERS[slot]),
      h("h3", { title: run.key }, run.name),
      removeButton(run.key, run.name),
    ),
    h("p", { class: "small" }, stateMark(run), run.started ? ` ${formatDate(run.started)}` : "", run.seconds ? `, ${formatDuration(run.seconds)}` : ""),
    h("p", { class: "plan" }, `${run.model || "?"} on ${run.data || "?"}: ${run.plan.replaceAll("+", " + ") || "?"}`),
    scores.length ? h("dl", { class: "scores" }, scores.map((column) => h("div", {}, h("dt", {}, column.title), h("dd", {}, formatValue(run[column.key], column))))) : null,
    run.state === "running" ? h("p", { class: "small" }, progressOf(run)) : null,
    run.state !== "running" && run.reason ? h("p", { class: "reason" }, run.reason) : null,
    run.resume ? h("div", { class: "command" }, h("code", {}, run.resume), copyButton(run.resume)) : null,
    run.report && data.live ? h("p", { class: "small" }, reportLink(run)) : null,
  );
}

function drawMissing(key, slot) {
  const text = h("p", { class: "reason" }, "This page has no run of that name.");
  return h("li", { class: "card" }, h("header", {}, h("span", { class: "letter" }, LETTERS[slot]), h("h3", {}, key), removeButton(key, key)), text);
}

const removeButton = (key, name) => h("button", { type: "button", class: "quiet close", "aria-label": `stop comparing ${name}`, onclick: () => toggle(key) }, "×");

function drawProblems(runs) {
  const problems = runs.filter(({ details }) => details.problem).map(({ slot, details }) => h("li", {}, `${LETTERS[slot]}: ${details.problem}`));
  byId("problems").replaceChildren(...problems);
}

/** A table: one row for each key that differs, one column for each run. */
function drawConfigurations(runs) {
  const configs = runs.map(({ details }) => details.config ?? {});
  const keys = [...new Set(configs.flatMap(Object.keys))];
  const differs = (key) => configs.some((config) => own(config, key) !== own(configs[0], key));
  const different = keys.filter(differs);
  byId("equal").checked = state.equal;
  byId("equal-label").hidden = runs.length < 2;
  const rows = (runs.length < 2 || state.equal ? keys : different).map((key) =>
    h("tr", { class: differs(key) ? "" : "same" }, h("th", { scope: "row" }, key), configs.map((config) => h("td", {}, own(config, key) ?? "–"))),
  );
  const texts = { 0: "", 1: `${keys.length} keys.` };
  byId("configuration-count").textContent = texts[runs.length] ?? (different.length ? `${different.length} of ${keys.length} keys differ.` : "They do not differ.");
  const head = h("tr", {}, h("th", { scope: "col" }, "key"), runs.map(({ run, slot }) => h("th", { scope: "col", title: run.key }, h("span", { class: `letter slot-${slot}` }, LETTERS[slot]))));
  byId("configuration").replaceChildren(rows.length ? h("table", { class: "words" }, h("thead", {}, head), h("tbody", {}, rows)) : "");
  byId("configuration-section").open ||= runs.length > 1;
}

/** Each kind of figure in a row, side by side. */
function drawFigures(runs) {
  const names = [...new Set(runs.flatMap(({ details }) => Object.keys(details.figures ?? {})))];
  const order = Object.keys(FIGURE_TITLES);
  const rank = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
  names.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  byId("figures-section").hidden = names.length === 0;
  const open = new Set([...byId("figures").querySelectorAll("details[open]")].map((element) => element.dataset.figure));
  const isFirst = byId("figures").children.length === 0;
  const groups = names.map((name) => {
    const title = own(FIGURE_TITLES, name) ?? name;
    const images = runs.filter(({ details }) => own(details.figures, name) !== undefined).map(({ run, slot, details }) => {
      const image = h("img", { src: figureAddress(run.key, name, details.figures), alt: `${title}, run ${run.name}`, loading: "lazy" });
      const caption = h("figcaption", {}, h("span", { class: `letter slot-${slot}` }, LETTERS[slot]), ` ${run.name}`);
      return h("figure", {}, h("button", { type: "button", class: "picture", "aria-label": `enlarge: ${image.alt}`, onclick: () => enlarge(image) }, image), caption);
    });
    return h("details", { "data-figure": name, open: isFirst ? name === names[0] : open.has(name) }, h("summary", {}, title), h("div", { class: "pictures" }, images));
  });
  redraw(byId("figures"), ...groups);
}

function enlarge(image) {
  const dialog = byId("enlarged");
  dialog.replaceChildren(h("form", { method: "dialog" }, h("button", { class: "quiet close", "aria-label": "close" }, "×")), image.cloneNode(), h("p", {}, image.alt));
  dialog.showModal();
}

/** Build the controls. */
export function startComparison() {
  byId("equal").addEventListener("change", (event) => update({ equal: event.target.checked }));
  byId("enlarged").addEventListener("click", (event) => event.target === byId("enlarged") && byId("enlarged").close());
}
