// Elements. Text always becomes a text node, so that no name of a run is ever read as markup.

/** A new element: properties and attributes, listeners as functions (`onclick`), then children (nodes or text). */
export function h(tag, settings = {}, ...children) {
  return fill(document.createElement(tag), settings, children);
}

/** The same for SVG. */
export function s(tag, settings = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), settings, children);
}

function fill(element, settings, children) {
  for (const [name, value] of Object.entries(settings)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace the children of an element. The keyboard stays at the same place of it, also if a poll draws it anew. */
export function redraw(element, ...children) {
  const places = () => [...element.querySelectorAll("button, input, a, summary, [tabindex]")];
  const place = places().indexOf(document.activeElement);
  element.replaceChildren(...children.flat());
  if (place >= 0) places()[place]?.focus({ preventScroll: true });
}

export const byId = (id) => document.getElementById(id);

/** Text for a screen reader, which announces it. */
export function announce(text) {
  byId("announcement").textContent = text;
}

/** A button that copies a text, and says that it did. */
export function copyButton(text, label = "Copy") {
  const button = h("button", { type: "button", class: "quiet", title: text, "aria-label": `${label}: ${text}` }, label);
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text)) ? "Copied" : "Select it by hand";
    announce(button.textContent);
    setTimeout(() => (button.textContent = label), 2000);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { readonly: true, class: "offscreen" }, text); // a file has no clipboard
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
