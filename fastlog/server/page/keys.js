// The keys of the page, which `?` lists. They are the same in every view; a key of a field is the field's own.

import { byId } from "./dom.js";
import { chooseRange } from "./history.js";
import { continueLines, pauseOrContinue } from "./lines.js";
import { markSeen } from "./losses.js";
import { changeZone } from "./times.js";
import { go } from "./views.js";

const KEYS = {
  o: () => go("overview"),
  l: () => go("lines"),
  r: () => go("rejected"),
  "/": focusFilter,
  p: pauseOrContinue,
  e: continueLines,
  1: () => chooseRange("5m"),
  2: () => chooseRange("1h"),
  3: () => chooseRange("24h"),
  4: () => chooseRange("7d"),
  u: changeZone,
  s: markSeen,
  "?": showHelp,
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea") !== null;
  const covered = byId("help").open && event.key !== "?"; // the page beneath the list has no keys
  if (typing || covered || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});

function focusFilter() {
  document.querySelector("[data-view]:not([hidden]) [aria-keyshortcuts='/']")?.focus();
}

function showHelp() {
  const help = byId("help");
  if (help.open) help.close();
  else help.showModal();
}

byId("help-button").addEventListener("click", showHelp);
byId("help-close").addEventListener("click", () => byId("help").close());
byId("zone-button").addEventListener("click", changeZone);
