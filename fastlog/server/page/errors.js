// The recent errors of the overview: equal ones in one row with their number, and a filter.

import { byId, recall, remember, setText } from "./dom.js";
import { makeEntry } from "./entry.js";
import { count } from "./format.js";
import { timeElement } from "./times.js";

const filter = byId("filter");
const groupBox = byId("group");

let shown = []; // {key, row, words, alike, time}, the oldest first, as the server sends them
let filled = false;
let taken = 0; // since the server's start; the list has the newest of them
const opened = new Set(); // groups of which every row is shown

// The list is a window that moves along the entries: rows it has passed are removed at the foot of the table, new ones
// are added on top, and those between are not touched, even if some of them are equal.
export function showErrors(entries, takenNow) {
  const keys = entries.map((entry) => JSON.stringify(entry));
  const gone = entriesGone(shown.map(({ key }) => key), keys);
  for (const { row } of shown.splice(0, gone)) row.remove();
  const added = keys.slice(shown.length).map((key, index) => makeRow(key, entries[shown.length + index]));
  if (filled && gone === 0 && added.length === 0 && takenNow === taken) return;
  taken = takenNow;
  shown = shown.concat(added);
  keepScroll(() => {
    byId("errors").prepend(...added.map(({ row }) => row).reverse());
    arrange();
  });
  filled = true;
}

function makeRow(key, entry) {
  const made = makeEntry(entry);
  made.row.classList.toggle("new", filled);
  made.row.querySelector(".times").addEventListener("click", () => {
    if (!opened.delete(made.alike)) opened.add(made.alike);
    arrange();
  });
  return { key, ...made };
}

function entriesGone(before, now) {
  for (let gone = 0; gone < before.length; gone += 1) {
    const rest = before.length - gone;
    if (rest <= now.length && now.slice(0, rest).every((key, index) => key === before[gone + index])) return gone;
  }
  return before.length;
}

// Rows added on top must not push away the row someone is reading; not every browser has scroll anchoring.
function keepScroll(change) {
  const scroller = byId("scroller");
  const { scrollTop, scrollHeight } = scroller;
  change();
  if (scrollTop > 0) scroller.scrollTop = scrollTop + scroller.scrollHeight - scrollHeight;
}

// Shows what matches the filter; of equal entries the newest one, unless their group is open.
function arrange() {
  const terms = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const matching = shown.filter(({ words }) => terms.every((term) => words.includes(term)));
  const groups = Map.groupBy(matching, (entry) => (groupBox.checked ? entry.alike : entry));
  for (const { row } of shown) row.hidden = true;
  for (const [alike, members] of groups) {
    const open = opened.has(alike);
    members.forEach((member, index) => {
      const newest = index === members.length - 1;
      member.row.hidden = !(newest || open);
      member.row.classList.toggle("older", open && !newest);
      showTimes(member.row.querySelector(".times"), newest ? members : [], open);
    });
  }
  const all = shown.length;
  const newest = taken > all ? `newest ${count(all)} of ${count(taken)}` : count(all);
  const kinds = groups.size < matching.length ? `, ${count(groups.size)} different` : "";
  setText(byId("shown"), (terms.length ? `${count(matching.length)} of ${count(all)} match` : newest) + kinds);
  setText(byId("no-errors"), all > 0 ? "No entry matches the filter." : taken > 0 ? "None is kept: MAX_ERRORS is 0." : "No errors so far.");
  byId("no-errors").hidden = matching.length > 0;
}

function showTimes(button, members, open) {
  button.hidden = members.length < 2;
  if (button.hidden) return;
  button.setAttribute("aria-expanded", String(open));
  const [first] = members;
  const since = first.time === null ? [] : [", first ", timeElement(first.time, "near")];
  button.replaceChildren(`×${count(members.length)}`, ...since);
}

// Otherwise the animation would run again whenever the filter shows the row.
byId("errors").addEventListener("animationend", (event) => event.target.classList.remove("new"));

groupBox.checked = recall("group") !== false;
groupBox.addEventListener("change", () => {
  remember("group", groupBox.checked);
  arrange();
});
filter.addEventListener("input", arrange);
filter.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  event.preventDefault();
  filter.value = "";
  arrange();
});
