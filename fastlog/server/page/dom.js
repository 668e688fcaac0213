// Changes the page in place: what has not changed is not touched, so that scroll position, selection and focus survive.
// Text from strangers comes in through setForeignText alone, as text nodes.

export const byId = (id) => document.getElementById(id);

// Keeps the text node and leaves an equal text alone, so that a selection in it survives.
export function setText(element, text) {
  const node = element.firstChild;
  if (node === null) element.append(text);
  else if (node.data !== text) node.data = text;
}

export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export function setFigure(element, value, format) {
  setText(element, value === null ? element.dataset.none ?? "unknown" : format(value));
  element.classList.toggle("unknown", value === null);
}

export function fromTemplate(id) {
  return byId(id).content.firstElementChild.cloneNode(true);
}

const keptRows = new WeakMap();

// Makes the children of `parent` match `items`: the row of a key is made once, then updated, and moved only if needed.
export function syncRows(parent, items, keyOf, make, update) {
  const before = keptRows.get(parent) ?? new Map();
  const after = new Map();
  for (const item of items) after.set(keyOf(item), before.get(keyOf(item)) ?? make(item));
  for (const [key, row] of before) if (!after.has(key)) row.remove();
  let place = parent.firstElementChild;
  for (const item of items) {
    const row = after.get(keyOf(item));
    if (row === place) place = place.nextElementSibling;
    else parent.insertBefore(row, place);
    update(row, item);
  }
  keptRows.set(parent, after);
}

// Controls, lone surrogates, and the characters that reorder or hide text.
const REORDERING = "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069";
const HIDING =
  "\\u00ad\\u115f\\u1160\\u180e\\u200b\\u2028\\u2029\\u2060-\\u2065\\u206a-\\u206f\\u3164\\ufeff\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}";
const UNSEEN = new RegExp(`[\\p{Cc}\\p{Cs}${REORDERING}${HIDING}]`, "gu");
export const UNSEEN_BUT_LAYOUT = new RegExp(`(?![\\n\\t])${UNSEEN.source}`, "gu");

export function symbol(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  const hex = code.toString(16).toUpperCase();
  return code > 0xffff ? `\\u{${hex}}` : `\\u${hex.padStart(4, "0")}`;
}

export function visible(text) {
  return text.replace(UNSEEN, symbol);
}

// Writes text with its unseen characters marked as symbols, so that a real one differs from a typed "\u202E".
export function setForeignText(element, text, unseen = UNSEEN) {
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(unseen)) {
    const mark = document.createElement("span");
    mark.className = "unseen-character";
    mark.textContent = symbol(match[0]);
    pieces.push(text.slice(end, match.index), mark);
    end = match.index + match[0].length;
  }
  element.replaceChildren(...pieces, text.slice(end));
}

// ---- What this browser keeps ----------------------------------------------------------------------------------------

export function recall(name) {
  try {
    return JSON.parse(localStorage.getItem(`fastlog.${name}`));
  } catch {
    return null; // storage is off, or something else wrote there
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`fastlog.${name}`, JSON.stringify(value));
  } catch {
    // Storage is off or full: it holds until the page is closed.
  }
}
