// The runs: from the page itself at first, then from the server that made it.

import { byId } from "./dom.js";

export const data = { runs: [], byKey: new Map(), columns: [], studies: [], title: "", made: 0, live: false };

/** Read the overview in the page. */
export function readOverview() {
  take(JSON.parse(byId("overview").textContent));
}

/** Runs come by columns, which is smaller; texts that repeat are stored once. */
function take(overview) {
  const { runs: columns, ...rest } = overview;
  const decoded = Object.entries(columns).map(([key, column]) => {
    return [key, Array.isArray(column) ? column : column.indices.map((index) => column.texts[index])];
  });
  const runs = columns.key.map((_, i) => Object.fromEntries(decoded.map(([key, values]) => [key, values[i]])));
  Object.assign(data, rest, { runs, byKey: new Map(runs.map((run) => [run.key, run])) });
}

let tag = null;

/** Ask the server for news. Returns whether there are any. Throws if it does not answer. */
export async function refresh() {
  const answer = await fetch("overview.json", { cache: "no-store", headers: tag ? { "If-None-Match": tag } : {} });
  if (answer.status === 304) return false;
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  tag = answer.headers.get("ETag");
  take(await answer.json());
  for (const key of details.keys()) if (data.byKey.get(key)?.state === "running") outdated.add(key);
  return true;
}

/** The value of a key; undefined if the object has none of its own: a setting or a figure may be called "constructor". */
export const own = (object, key) => (object && Object.hasOwn(object, key) ? object[key] : undefined);

const details = new Map();
const outdated = new Set();

/** Curves, configuration and figures of a run; of the last answer while a run goes on, until the next one is there. */
export function loadDetails(key) {
  if (!details.has(key) || outdated.delete(key)) {
    const previous = details.get(key);
    details.set(key, data.live ? fetchDetails(key).catch(() => previous ?? { problem: "the server does not answer" }) : embedded(key));
  }
  return details.get(key);
}

async function fetchDetails(key) {
  const answer = await fetch(`details.json?${new URLSearchParams({ run: key })}`, { cache: "no-store" });
  return answer.ok ? answer.json() : { problem: `the server answered ${answer.status}` };
}

async function embedded(key) {
  if (document.readyState === "loading") await new Promise((done) => addEventListener("DOMContentLoaded", done, { once: true }));
  const index = data.runs.findIndex((run) => run.key === key);
  return JSON.parse(byId(`details-${index}`)?.textContent ?? '{"problem": "it is not in this file"}');
}

/** Where an image of a run is. */
export function figureAddress(key, name, figures) {
  return data.live ? `figure.png?${new URLSearchParams({ run: key, name })}` : own(figures, name);
}
