// What the page knows of the memory, and who wants to hear of changes.
import {$, counted, get, say} from "./api.js";

export const memory = {generation: -1, num_rows: 0, classes: {}, pending: [],
  voters: {}, defaults: {}};
export const asked = {question: null, about: ""};  // The newest, for the map.
const listeners = [], watchers = [];

export const onChange = (listener) => listeners.push(listener);
export const onState = (watcher) => watchers.push(watcher);

export function take(found) {
  const moved = found.generation !== memory.generation;
  const first = memory.generation < 0;
  const waiting = JSON.stringify(found.pending) !== JSON.stringify(memory.pending);
  Object.assign(memory, found);
  $("name").textContent = memory.name.split("/").filter(Boolean).pop() ?? memory.name;
  document.title = `${$("name").textContent} · visual memory`;
  const names = Object.keys(memory.classes).length;
  $("holding").textContent = `${counted(memory.num_rows, "row")} of `
    + `${counted(names, "class")} · ${memory.encoder ?? "encoder not known"}`
    + ` · generation ${memory.generation}`;
  $("waiting").textContent = memory.pending.length;
  $("waiting").hidden = !memory.pending.length;
  for (const watcher of watchers) watcher();
  if (moved || waiting) for (const listener of listeners) listener({moved, first});
}

export async function refresh() {
  take(await get("state"));
}

// Other tabs and the command line edit, too: their edits are seen here.
export function follow() {
  let silent = false;
  setInterval(async () => {
    if (document.hidden) return;
    try {
      await refresh();
      if (silent) say("");
      silent = false;
    } catch (error) {
      if (!silent) say(error.message, true);
      silent = true;
    }
  }, 2500);
}

export const classNames = () => Object.keys(memory.classes).sort();
