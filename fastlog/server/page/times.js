// Times, shown as they are where the browser is, or in UTC: a click changes it for the whole page, and the browser keeps
// it. Every time is a <time> element, so that it can be written anew.

import { recall, remember, setAttribute, setText } from "./dom.js";

const STAMP = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/; // RFC 3339
const listeners = [];
let utc = recall("utc") === true;

// The moment that an entry's time means; null: not a time of one meaning.
export function moment(text) {
  const time = STAMP.test(text) ? Date.parse(text.replace(" ", "T")) : NaN;
  return Number.isNaN(time) ? null : new Date(time);
}

export function zone(date = new Date()) {
  const ahead = utc ? 0 : -date.getTimezoneOffset();
  const [hours, minutes] = [Math.floor(Math.abs(ahead) / 60), Math.abs(ahead) % 60];
  return `UTC${ahead === 0 ? "" : `${ahead < 0 ? "\u2212" : "+"}${hours}${minutes ? `:${two(minutes)}` : ""}`}`;
}

const FORMATS = {
  clock: (date) => `${wall(date).slice(11, 19)} ${zone(date)}`,
  full: (date) => wall(date).replace("T", " "),
  second: (date) => wall(date).slice(11, 19),
  minute: (date) => wall(date).slice(11, 16),
  day: (date) => wall(date).slice(5, 16).replace("T", " "),
  near: (date) => (wall(date).slice(0, 10) === wall(new Date()).slice(0, 10) ? FORMATS.second(date) : FORMATS.day(date)),
};

export function setTime(element, date, format) {
  setAttribute(element, "datetime", date.toISOString());
  element.dataset.format = format;
  setText(element, FORMATS[format](date));
}

export function timeElement(date, format) {
  const element = document.createElement("time");
  setTime(element, date, format);
  return element;
}

export function changeZone() {
  utc = !utc;
  remember("utc", utc);
  showZone();
}

// To be called once the page is there, and after each change.
export function showZone() {
  for (const element of document.querySelectorAll("time[data-format]")) {
    setTime(element, new Date(element.dateTime), element.dataset.format);
  }
  for (const element of document.querySelectorAll("[data-zone]")) setText(element, zone());
  for (const listener of listeners) listener();
}

export function onZone(listener) {
  listeners.push(listener);
}

// For <input type="datetime-local">, which knows no zone.
export function toInput(date) {
  return wall(date).slice(0, 19);
}

export function fromInput(text) {
  const date = new Date(utc ? `${text}Z` : text);
  return Number.isNaN(date.getTime()) ? null : date;
}

// The date and time as a clock on the wall shows them, to the millisecond.
function wall(date) {
  const ahead = utc ? 0 : -date.getTimezoneOffset();
  return new Date(date.getTime() + ahead * 60000).toISOString().slice(0, 23);
}

function two(number) {
  return String(number).padStart(2, "0");
}
