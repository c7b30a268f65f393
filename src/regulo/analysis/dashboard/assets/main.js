// The page: read what it holds, draw it, and follow the runs that go on.

import { byId } from "./dom.js";
import { data, readOverview, refresh } from "./data.js";
import { drawColumnChoice, drawCounts, drawStudies } from "./controls.js";
import { drawComparison, startComparison } from "./compare.js";
import { drawCurves, startCurves } from "./curves.js";
import { MOST_SELECTED, onChange, readAddress, state, update } from "./state.js";
import { drawRows, drawTable, startTable } from "./table.js";

const SECONDS_WHILE_RUNNING = 3;
const SECONDS_WHILE_IDLE = 15;
const SHARE_OF_TIME = 1 / 20; // the server reads the folders at most this part of the time, so that training has the rest
const FIRST_COMPARED = 3;

function drawHeader() {
  document.title = `${data.title} · Regulo`;
  byId("title").textContent = data.title;
  const running = data.runs.filter((run) => run.state === "running").length;
  const parts = [`${data.runs.length.toLocaleString("en-US")} run${data.runs.length === 1 ? "" : "s"}`];
  if (running) parts.push(`${running} running`);
  byId("lead").textContent = data.runs.length ? `${parts.join(", ")}.` : "";
  byId("empty").hidden = data.runs.length > 0;
  byId("runs").hidden = data.runs.length === 0;
}

function drawAll() {
  drawHeader();
  drawCounts();
  drawStudies();
  drawColumnChoice();
  drawTable();
  drawComparison();
  drawCurves();
}

/** What must be drawn again for each part of the state. */
const DRAW = {
  q: [drawTable, drawCounts],
  sort: [drawTable],
  columns: [drawTable, drawColumnChoice],
  selected: [drawRows, drawComparison, drawCurves],
  x: [drawCurves],
  log: [drawCurves],
  panels: [drawCurves],
  equal: [drawComparison],
};

/** Without a choice in the address: the runs that the page was made for, those that go on, or the newest. */
function chooseFirst() {
  const running = data.runs.filter((run) => run.state === "running");
  const withCurves = data.runs.filter((run) => run.epochs);
  const newest = [...new Set([...running, ...withCurves])].slice(0, FIRST_COMPARED).map((run) => run.key);
  state.selected = data.chosen.length ? data.chosen.slice(0, MOST_SELECTED) : newest;
}

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = byId("theme");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const label = () => (button.textContent = isDark() ? "Light" : "Dark");
  const remembered = remember();
  if (remembered) document.documentElement.dataset.theme = remembered;
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = remember(isDark() ? "light" : "dark");
    label();
  });
  dark.addEventListener("change", label);
  label();
}

/** The chosen theme, kept by the browser if it allows that. */
function remember(theme) {
  try {
    if (theme) localStorage.setItem("regulo-theme", theme);
    return theme ?? localStorage.getItem("regulo-theme");
  } catch {
    return theme;
  }
}

async function follow() {
  const start = performance.now();
  if (document.visibilityState === "visible") {
    try {
      const wasEmpty = data.runs.length === 0;
      if (await refresh()) {
        if (wasEmpty) chooseFirst();
        drawAll();
      }
      byId("connection").textContent = `live, ${new Date().toLocaleTimeString("en-GB")}`;
      byId("connection").classList.remove("lost");
    } catch {
      byId("connection").textContent = "the server has ended: make dashboard starts it again";
      byId("connection").classList.add("lost");
    }
  }
  const took = (performance.now() - start) / 1000;
  const seconds = data.runs.some((run) => run.state === "running") ? SECONDS_WHILE_RUNNING : SECONDS_WHILE_IDLE;
  setTimeout(follow, 1000 * Math.max(seconds, took / SHARE_OF_TIME));
}

readOverview();
if (!readAddress()) chooseFirst();
startTheme();
startTable();
startCurves();
startComparison();
onChange((names) => new Set(names.flatMap((name) => DRAW[name])).forEach((draw) => draw()));
addEventListener("hashchange", () => {
  readAddress();
  drawAll();
});
addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, textarea")) {
    event.preventDefault();
    byId("filter").focus();
  } else if (event.key === "Escape" && event.target === byId("filter")) update({ q: "" });
});
drawAll();
performance.mark("drawn");
if (data.live) follow();
else byId("connection").textContent = `as of ${new Date(1000 * data.made).toLocaleString("en-GB")}`;
