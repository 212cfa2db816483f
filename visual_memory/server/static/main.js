// The page: one memory, four views of it.
import {$, attempt, post, say} from "./api.js";
import * as ask from "./ask.js";
import * as browse from "./browse.js";
import * as edits from "./edits.js";
import * as map from "./map.js";
import {follow, refresh} from "./state.js";

const views = [...document.querySelectorAll(".view")];

function show(name, remember = true) {
  for (const view of views) view.hidden = view.id !== name;
  for (const button of document.querySelectorAll("[data-view]")) {
    if (button.dataset.view === name) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  if (remember) history.replaceState(null, "", `#${name}`);
  say("");
  if (name === "map") map.shown();
}

document.addEventListener("view", (event) => show(event.detail));
for (const button of document.querySelectorAll("[data-view]")) {
  button.addEventListener("click", () => show(button.dataset.view));
}
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, textarea, dialog") || event.ctrlKey || event.metaKey) return;
  const view = {b: "browse", a: "ask", m: "map", e: "edits"}[event.key];
  if (view) show(view);
  else if (event.key === "/") { show("browse"); $("text").focus(); event.preventDefault(); }
});

browse.begin();
ask.begin();
edits.begin();
map.begin();
const wanted = location.hash.slice(1);
show(views.some((view) => view.id === wanted) ? wanted : "browse", false);
attempt(refresh)();
follow();
// What questions need takes all cores for a while: the first rows come first.
addEventListener("load", () => setTimeout(() => post("seen").catch(() => {}), 1500));
