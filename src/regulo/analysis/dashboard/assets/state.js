// What the reader has chosen. It is in the address, so that a view can be reloaded, kept and shared.

export const LETTERS = "ABCDEFGHIJKL";
/** as many runs can be compared at once: one letter, color and dash pattern each */
export const MOST_SELECTED = LETTERS.length;

const DEFAULTS = { q: "", sort: "-started", columns: null, x: "epoch", log: false, panels: null, equal: false };

export const state = { ...DEFAULTS, selected: [] };

const listeners = [];

/** Call `listener(names of what has changed)` after every change. */
export function onChange(listener) {
  listeners.push(listener);
}

/** Change some of the state, write it into the address, and tell the listeners. */
export function update(changes) {
  Object.assign(state, changes);
  history.replaceState(null, "", `#${encode()}`);
  for (const listener of listeners) listener(Object.keys(changes));
}

/** Add a run to those that are compared, or remove it. Returns false if no place is free. */
export function toggle(key) {
  const slots = [...state.selected];
  const place = slots.indexOf(key);
  if (place >= 0) slots[place] = null;
  else {
    const free = slots.indexOf(null);
    if (free >= 0) slots[free] = key;
    else if (slots.length < MOST_SELECTED) slots.push(key);
    else return false;
  }
  while (slots.length && slots.at(-1) === null) slots.pop();
  update({ selected: slots });
  return true;
}

/** The compared runs as [key, slot]: the slot gives letter, color and dashes, and stays when another run is removed. */
export function selection() {
  return state.selected.map((key, slot) => [key, slot]).filter(([key]) => key !== null);
}

function encode() {
  const parameters = new URLSearchParams();
  for (const [name, fallback] of Object.entries(DEFAULTS)) {
    const value = state[name];
    if (value === fallback) continue;
    parameters.set(name, Array.isArray(value) ? value.join(",") : value === true ? "1" : value);
  }
  for (const key of state.selected) parameters.append("run", key ?? "");
  return parameters.toString().replaceAll("%2F", "/").replaceAll("%2C", ",");
}

/** Read the state from the address. Returns whether the address chooses runs. */
export function readAddress() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  for (const [name, fallback] of Object.entries(DEFAULTS)) {
    const text = parameters.get(name);
    if (text === null) state[name] = fallback;
    else if (typeof fallback === "boolean") state[name] = text === "1";
    else state[name] = fallback === null ? text.split(",").filter(Boolean) : text;
  }
  const keys = parameters.getAll("run").slice(0, MOST_SELECTED);
  state.selected = keys.map((key, i) => (key && keys.indexOf(key) === i ? key : null));
  return parameters.has("run");
}
