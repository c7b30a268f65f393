// The filter, as in `regulo runs`: any text, and conditions such as model=vit_tiny, plan=*mixup* or test/acc>0.9. All must hold.

import { formatDate } from "./format.js";

const TOKEN = /"([^"]*)"|\S+/g;
const CONDITION = /^([\w./-]+)(!=|>=|<=|=|>|<)(.*)$/s;
const COMPARE = {
  "=": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  ">": (a, b) => a > b,
  "<": (a, b) => a < b,
  ">=": (a, b) => a >= b,
  "<=": (a, b) => a <= b,
};
const TEXT_KEYS = ["name", "state", "reason", "plan", "study", "data", "model", "started"];

const textOf = (run, key) => (key === "started" ? formatDate(run.started) : String(run[key] ?? ""));

/** From the text of a filter: a function that says whether a run passes, and what is wrong with the text ("" if nothing is). */
export function compileFilter(text, columns) {
  const tests = [];
  for (const match of text.matchAll(TOKEN)) {
    const result = compileWord(match[1] ?? match[0], columns);
    if (typeof result === "string") return { passes: () => true, problem: result };
    tests.push(result);
  }
  return { passes: (run) => tests.every((test) => test(run)), problem: "" };
}

/** A function that says whether a run passes one word; or, as text, what is wrong with the word. */
function compileWord(word, columns) {
  const condition = word.match(CONDITION);
  if (!condition) {
    const needle = word.toLowerCase();
    return (run) => TEXT_KEYS.some((key) => textOf(run, key).toLowerCase().includes(needle));
  }
  const [, key, operator, value] = condition;
  const column = columns.find((candidate) => candidate.key === key);
  if (!column) return `There is no column ${key}${suggest(key, columns)}`;
  if (value === "") return () => true; // it is being typed
  if (TEXT_KEYS.includes(key)) return compileTextWord(key, operator, value);
  const wanted = column.kind === "switch" ? { true: true, false: false }[value] : Number(value);
  if (wanted === undefined || Number.isNaN(wanted)) return `${value} is no value of ${key}.`;
  return (run) => run[key] !== null && COMPARE[operator](run[key], wanted);
}

function compileTextWord(key, operator, value) {
  if (operator === "=" || operator === "!=") {
    const pattern = new RegExp(`^${value.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*").replaceAll("?", ".")}$`, "s");
    return (run) => pattern.test(textOf(run, key)) === (operator === "=");
  }
  if (key !== "started") return `${key} is text, which has no order: use ${key}=${value}, also with * for any letters.`;
  return (run) => COMPARE[operator](textOf(run, key), value);
}

function suggest(name, columns) {
  const distances = columns.map((column) => [distance(name, column.key), column.key]).sort((a, b) => a[0] - b[0]);
  return distances[0]?.[0] <= Math.max(2, name.length / 3) ? `: did you mean ${distances[0][1]}?` : ".";
}

/** The number of letters to change, add or remove (Levenshtein). */
function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] !== b[j - 1])));
    }
    row = next;
  }
  return row[b.length];
}

/** A word of a filter: in quotes if it has a space. */
export const quoteWord = (word) => (/\s/.test(word) ? `"${word}"` : word);

const collator = new Intl.Collator("en", { numeric: true });

/** The runs sorted by a column, which is "-key" for the highest first; runs without a value come last. */
export function sortRuns(runs, sort, columns) {
  const descending = sort.startsWith("-");
  const key = descending ? sort.slice(1) : sort;
  const column = columns.find((candidate) => candidate.key === key);
  if (!column) return runs;
  const order = column.kind === "text" ? collator.compare : (a, b) => a - b;
  const missing = (value) => value === null || value === undefined || value === "";
  return runs.slice().sort((a, b) => {
    const [x, y] = [a[key], b[key]];
    if (missing(x) || missing(y)) return missing(x) - missing(y);
    return descending ? order(y, x) : order(x, y);
  });
}
