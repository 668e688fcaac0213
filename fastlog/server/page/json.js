// Reads JSON without rounding.
//
// A sequence goes up to 2^64 - 1 and other fields hold any number, but JSON.parse rounds them. So each number that
// JavaScript would write differently is turned into a string with a mark that no sender can guess.

const MARK = `${crypto.getRandomValues(new Uint32Array(4)).join("-")}:`;
const STRING_OR_NUMBER = /"[^"\\]*(?:\\[^][^"\\]*)*"|-?\d[\d.eE+-]*/g;
const MARKED = new RegExp(`"${MARK}([^"]*)"`, "g");

export function parseExactly(json) {
  const keep = (token) => token[0] === '"' || String(Number(token)) === token;
  return JSON.parse(json.replace(STRING_OR_NUMBER, (token) => (keep(token) ? token : `"${MARK}${token}"`)));
}

function unmark(text) {
  return text.startsWith(MARK) ? text.slice(MARK.length) : text;
}

// Any JSON value as its sender wrote it; a string without its quotes.
export function asText(value) {
  return typeof value === "string" ? unmark(value) : JSON.stringify(value).replace(MARKED, "$1");
}

export function asNumber(value) {
  if (value === null || value === undefined) return null;
  return Number(typeof value === "string" ? unmark(value) : value);
}

export function lookUp(stats, path) {
  return path.split(".").reduce((found, key) => found?.[key], stats) ?? null;
}
