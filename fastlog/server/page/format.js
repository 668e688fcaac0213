// Writes figures: the same thousands and decimal units as the terminal and the documents.

import { visible } from "./dom.js";
import { asNumber, asText } from "./json.js";

const THIN_SPACE = "\u202f";

function grouped(digits) {
  return digits.replace(/\B(?=(\d{3})+$)/g, ",");
}

export function count(value) {
  return grouped(String(Math.round(asNumber(value))));
}

export function rate(value) {
  const number = asNumber(value);
  return number > 0 && number < 9.95 ? number.toFixed(1) : count(number);
}

export function milliseconds(value) {
  const number = asNumber(value);
  const places = number < 9.995 ? 2 : number < 99.95 ? 1 : 0;
  return `${places ? number.toFixed(places) : count(number)}${THIN_SPACE}ms`;
}

// Decimal units, like the settings: an MB of MAX_LOG_SIZE_MB has 1,000,000 bytes.
export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
  let number = asNumber(value);
  let unit = 0;
  while (number >= 999.5 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  const places = unit === 0 || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  return `${number.toFixed(places)}${THIN_SPACE}${units[unit]}`;
}

export function duration(value) {
  const seconds = Math.floor(asNumber(value));
  const parts = [
    [Math.floor(seconds / 86400), "d"], [Math.floor(seconds / 3600) % 24, "h"], [Math.floor(seconds / 60) % 60, "min"],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first === -1) return `${seconds} s`;
  if (first === 2) parts.push([seconds % 60, "s"]);
  return parts.slice(first).map(([amount, unit]) => `${amount} ${unit}`).join(" ");
}

export function largestUnit(value) {
  return duration(value).match(/\d+ \w+/)[0];
}

export function percent(part, whole) {
  if (whole === 0) return "0%";
  const share = (100 * part) / whole;
  if (part > 0 && share < 0.1) return "<0.1%";
  return `${share.toFixed(share > 0 && share < 99.95 ? 1 : 0)}%`;
}

export const FORMATS = { count, rate, bytes, share: (value) => percent(asNumber(value), 100), duration, ms: milliseconds, word: (value) => visible(asText(value)) };
