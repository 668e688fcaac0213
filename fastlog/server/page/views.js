// The views, and which of them is open: the address has the view and what it shows behind its #, so that a link, the
// history of the browser and a bookmark hold it.

import { setAttribute } from "./dom.js";

const FIRST = "overview";
const views = {}; // by name: {open(parameters), close()}
let shown = null;
let address = null; // what is behind the # of the view that is shown

export function addView(name, view) {
  views[name] = view;
}

export function link(name, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  return `#${name}${query ? `?${query}` : ""}`;
}

// At once, not with the event of the address, so that the next key is one of the new view.
export function go(name, parameters) {
  location.hash = link(name, parameters);
  showIfMoved();
}

export function currentView() {
  return shown;
}

export function startViews() {
  addEventListener("hashchange", showIfMoved);
  show(false);
}

function showIfMoved() {
  if (location.hash !== address) show(true);
}

function show(moved) {
  address = location.hash;
  const [asked, query = ""] = location.hash.slice(1).split(/\?(.*)/s);
  const name = Object.hasOwn(views, asked) ? asked : FIRST;
  const other = name !== shown;
  if (shown !== null) views[shown].close?.();
  for (const section of document.querySelectorAll("[data-view]")) section.hidden = section.dataset.view !== name;
  for (const entry of document.querySelectorAll("nav [data-opens]")) {
    setAttribute(entry, "aria-current", String(entry.dataset.opens === name));
  }
  shown = name;
  views[name].open?.(new URLSearchParams(query));
  if (other && moved) scrollTo(0, 0);
}
