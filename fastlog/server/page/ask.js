// Asks the server for figures.

import { parseExactly } from "./json.js";

const TIMEOUT_MS = 5000;

export class Unusable extends Error {} // an answer, but not figures

// Throws Unusable, with the reason that the server gives, and what fetch throws if there is no answer.
export async function fetchJson(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  const text = await response.text();
  if (!response.ok) throw new Unusable(reasonIn(text) ?? `the server says ${response.status}`);
  try {
    return parseExactly(text);
  } catch {
    throw new Unusable("its answer is not readable");
  }
}

function reasonIn(text) {
  try {
    return JSON.parse(text).error ?? null;
  } catch {
    return null;
  }
}

// A path with the parameters that have a value.
export function pathWith(path, parameters) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== null));
  return query.size ? `${path}?${query}` : path;
}
