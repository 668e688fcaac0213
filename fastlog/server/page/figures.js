// The figures of the overview that need more than a place and a format.

import { byId, fromTemplate, setAttribute, setFigure, setForeignText, setText, syncRows, visible } from "./dom.js";
import { knownAs } from "./entry.js";
import { bytes, count, duration, FORMATS, largestUnit, percent } from "./format.js";
import { asNumber, asText, lookUp } from "./json.js";
import { LEVELS } from "./levels.js";
import { link } from "./views.js";

const places = [...document.querySelectorAll("[data-show]")].map((element) => ({
  element,
  path: element.dataset.show,
  format: FORMATS[element.dataset.as],
  warns: "warn" in element.dataset,
}));

export function showFigures(stats) {
  for (const { element, path, format, warns } of places) {
    const value = lookUp(stats, path);
    setFigure(element, value, format);
    if (warns) element.classList.toggle("warned", asNumber(value) > 0);
  }
  showLevels(stats.level_distribution);
  showDisk(stats.disk);
  showArchives(stats.archives);
  showShipping(stats);
  byId("granted").classList.toggle("warned", asNumber(stats.receive_buffer.granted) < asNumber(stats.receive_buffer.wanted));
  showListeners(stats.listeners);
  showSenders(stats.top_senders);
  showSettings(stats.settings);
}

function showLevels(distribution) {
  const amounts = LEVELS.map((level) => asNumber(distribution[level]) ?? 0);
  const whole = amounts.reduce((sum, amount) => sum + amount, 0);
  const largest = Math.max(...amounts, 1);
  LEVELS.forEach((level, index) => {
    const row = document.querySelector(`#levels tr[data-level=${level}]`);
    row.querySelector(".fill").style.setProperty("width", `${(100 * amounts[index]) / largest}%`);
    row.classList.toggle("none", amounts[index] === 0);
    setText(row.querySelector(".amount"), count(amounts[index]));
    setText(row.querySelector(".share"), percent(amounts[index], whole));
  });
}

function showDisk(disk) {
  const state = byId("disk-state");
  setText(state, disk.failure === null ? "Working" : visible(asText(disk.failure)));
  state.classList.toggle("failing", disk.failure !== null);
  const limit = asNumber(disk.log_limit_bytes);
  const share = limit > 0 ? Math.min(100, (100 * asNumber(disk.log_bytes)) / limit) : 0;
  byId("gauge-fill").style.setProperty("width", `${share}%`);
  setAttribute(byId("gauge"), "aria-valuenow", share.toFixed(0));
  const free = asNumber(disk.free_bytes);
  const total = asNumber(disk.total_bytes);
  setFigure(byId("free"), free, () => (total === null ? bytes(free) : `${bytes(free)} of ${bytes(total)}`));
}

function showArchives(archives) {
  const deleted = asNumber(archives.deleted_files);
  const waiting = asNumber(archives.waiting_files);
  const more = (deleted > 0 ? `; ${count(deleted)} deleted` : "") + (waiting > 0 ? `; ${count(waiting)} to compress` : "");
  setFigure(byId("archives"), asNumber(archives.files), (files) => `${count(files)}, ${bytes(archives.bytes)}${more}`);
  byId("archives").classList.toggle("warned", archives.failure !== null);
}

// Where nobody ships the log, nothing is said of it.
function showShipping({ ship, losses }) {
  const shown = ship !== null || asNumber(losses.unshipped) > 0;
  for (const element of document.querySelectorAll(".shipping")) element.hidden = !shown;
  const lag = asNumber(ship?.lag_bytes);
  setFigure(byId("ship-lag"), lag, () => (lag > 0 ? `${bytes(lag)}, ${duration(ship.lag_seconds)} old` : "nothing"));
  const problem = asText(ship?.problem ?? "");
  setText(byId("ship-problem"), ship === null ? "nobody ships" : visible(problem) || "working");
  byId("ship-problem").classList.toggle("warned", problem !== "");
}

// One socket has all of the figures above; several are told apart.
function showListeners(listeners) {
  byId("listeners-table").hidden = listeners.length < 2;
  const make = ({ address }) => {
    const row = fromTemplate("listener-row");
    setForeignText(row.querySelector("bdi"), asText(address));
    return row;
  };
  syncRows(byId("listeners"), listeners, ({ address }) => address, make, (row, listener) => {
    setText(row.querySelector(".datagrams"), count(listener.datagrams));
    setFigure(row.querySelector(".dropped"), listener.kernel_drops, count);
    setText(row.querySelector(".errors"), count(listener.receive_errors));
  });
}

function showSettings(settings) {
  const make = ([name]) => {
    const pair = fromTemplate("pair");
    setText(pair.querySelector("dt"), visible(name));
    return pair;
  };
  syncRows(byId("settings-list"), Object.entries(settings), ([name]) => name, make, (pair, [, value]) => {
    setText(pair.querySelector("bdi"), visible(asText(value)) || "empty");
  });
}

function showSenders(senders) {
  byId("no-senders").hidden = senders.length > 0;
  syncRows(byId("senders"), senders, ({ address }) => asText(address), makeSender, (row, sender) => {
    setText(row.querySelector(".received"), count(sender.received));
    setText(row.querySelector(".gaps-here"), count(sender.lost));
    setText(row.querySelector(".heard"), `${largestUnit(sender.seconds_since_last)} ago`);
    const said = knownAs(asText(sender.address));
    const place = row.querySelector(".said");
    if (said !== "" && place.textContent !== visible(said)) setForeignText(place, said);
  });
}

function makeSender({ address }) {
  const row = fromTemplate("sender-row");
  setForeignText(row.querySelector("a"), asText(address));
  row.querySelector("a").href = link("sender", { address: asText(address) });
  return row;
}
