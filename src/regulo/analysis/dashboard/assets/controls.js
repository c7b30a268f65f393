// What is around the table: the counts by state, the choice of columns, and the studies.

import { byId, h, redraw } from "./dom.js";
import { data } from "./data.js";
import { quoteWord } from "./filter.js";
import { formatDate } from "./format.js";
import { state, update } from "./state.js";
import { visibleColumns } from "./table.js";

const STATES = ["running", "done", "interrupted", "failed", "crashed", "unreadable"];

/** The numbers of runs by state; each is a button that filters. */
export function drawCounts() {
  const counts = new Map([["all", data.runs.length], ...STATES.map((name) => [name, 0])]);
  for (const run of data.runs) counts.set(run.state, (counts.get(run.state) ?? 0) + 1);
  const buttons = [...counts]
    .filter(([name, count]) => count || name === "all")
    .map(([name, count]) => {
      const pressed = name === "all" ? !state.q : state.q === `state=${name}`;
      const label = h("span", { class: name === "all" ? "" : `state ${name}` }, name === "all" ? "all runs" : name);
      const settings = { type: "button", "aria-pressed": String(pressed), onclick: () => update({ q: name === "all" ? "" : `state=${name}` }) };
      return h("button", settings, h("strong", {}, count.toLocaleString("en-US")), label);
    });
  redraw(byId("counts"), ...buttons);
}

/** Checkboxes for all columns. */
export function drawColumnChoice() {
  const visible = new Set(visibleColumns().map((column) => column.key));
  const boxes = data.columns.map((column) => {
    const box = h("input", { type: "checkbox", onchange: () => chooseColumn(column.key, box.checked) });
    box.checked = visible.has(column.key);
    return h("label", {}, box, `${column.title} `, column.title === column.key ? null : h("small", {}, column.key));
  });
  const reset = h("button", { type: "button", onclick: () => update({ columns: null }) }, "The usual columns");
  redraw(byId("column-choice"), ...boxes, reset);
}

function chooseColumn(key, isVisible) {
  const visible = new Set(visibleColumns().map((column) => column.key));
  if (isVisible) visible.add(key);
  else visible.delete(key);
  update({ columns: data.columns.map((column) => column.key).filter((name) => visible.has(name)) });
}

/** The studies: what they ask, how far they are, their reports and their runs. */
export function drawStudies() {
  byId("studies").hidden = data.studies.length === 0;
  byId("studies-title").textContent = data.studies.length === 1 ? "1 study" : `${data.studies.length} studies`;
  redraw(byId("studies-list"), ...data.studies.map(drawStudy));
}

function drawStudy(study) {
  const runs = data.runs.filter((run) => run.study === study.name);
  const done = runs.filter((run) => run.state === "done").length;
  const failed = runs.filter((run) => run.state === "failed" || run.state === "crashed").length;
  const progress = `${done} of ${runs.length} runs done${failed ? `, ${failed} failed` : ""}`;
  return h(
    "li",
    {},
    h("h3", {}, study.title || study.name),
    h("p", {}, h("code", {}, study.name), ` · ${progress}`, study.time ? ` · ${formatDate(study.time)}` : "", study.problem ? ` · ${study.problem}` : ""),
    h(
      "p",
      { class: "actions" },
      h("button", { type: "button", class: "quiet", onclick: () => update({ q: `study=${quoteWord(study.name)}` }) }, "Its runs"),
      reportLink(study),
    ),
  );
}

/** A link to the report of a run or a study; for a page without a server, nothing. */
export function reportLink(item) {
  if (!item.report || !data.live) return null;
  return h("a", { href: `report.html?${new URLSearchParams({ folder: item.key })}`, target: "_blank", rel: "noopener" }, "Report");
}
