// Asking: a picture is dropped, pasted or chosen; the vote can be changed, and
// rows done without, while the answer is on screen.
import {$, attempt, counted, node, percent, post, say, thumbnail, upload} from "./api.js";
import {openRow, wantRelabelled, wantRemoved} from "./browse.js";
import {asked, memory, onChange} from "./state.js";

let question = null, without = [], wait;

const settings = () => ({voter: $("voter").value, k: Number($("k").value),
  hyper: $("hyper-label").hidden ? "" : $("hyper").value});

const ask = attempt(async (file) => {
  if (!file) return;
  document.dispatchEvent(new CustomEvent("view", {detail: "ask"}));
  const image = $("asked");
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(file);
  image.alt = `The picture asked about: ${file.name ?? "pasted"}`;
  image.hidden = false;
  $("answer").replaceChildren(node("p", {class: "empty"}, "Looking…"));
  without = [];
  try {
    draw(await upload(file, settings()));
    say("");
  } catch (error) {
    question = null;
    $("answer").replaceChildren();
    throw error;
  }
});

const again = attempt(async () => {
  if (question) draw(await post("ask-again", {question, without, ...settings()}));
});

function drawVoters() {
  const {voters, defaults} = memory;
  if ($("voter").options.length) return;
  $("voter").replaceChildren(...Object.keys(voters).map((name) => node("option", {value: name}, name)));
  $("voter").value = defaults.voter;
  $("k").value = defaults.k;
  drawHyper();
}

function drawHyper() {
  const hypers = Object.entries(memory.voters[$("voter").value] ?? {});
  $("hyper-label").hidden = !hypers.length;
  $("k-value").textContent = $("k").value;
  if (hypers.length) { $("hyper-name").textContent = hypers[0][0]; $("hyper").value = hypers[0][1]; }
}

function draw(found) {
  question = found.question;
  Object.assign(asked, {question, about: "the picture asked about"});
  $("without").replaceChildren(...(without.length ? [`without ${counted(without.length, "row")} `,
    node("button", {type: "button", onclick: () => { without = []; again(); }}, "with all again")] : []));
  const most = Math.max(...found.neighbors.map((near) => near.weight), 1e-300);
  const votes = Object.entries(found.votes).slice(0, 5);
  const known = found.known !== false;
  $("answer").replaceChildren(
    node("div", {class: "verdict"},
      node("h2", {id: "prediction"}, known ? found.prediction ?? "no class" : "unknown"),
      node("p", {class: "note"}, known
        ? `${percent(found.share)} of the votes of ${counted(found.neighbors.length, "row")}`
        : `Nothing in the memory is near: its nearest row has a similarity of `
          + `${found.neighbors[0].similarity.toFixed(3)}, and nearly all rows have one nearer than `
          + `${found.usual.toFixed(3)}. The nearest rows say ${votes[0]?.[0] ?? "nothing"}.`),
      node("ul", {class: "shares"}, ...votes.map(([name, share]) => node("li", {},
        node("span", {}, name), meter(share), node("span", {class: "number"}, percent(share)))))),
    node("h3", {}, "The rows that decided"),
    node("ol", {class: "neighbors"}, ...found.neighbors.map((near) => node("li",
      {class: near.class === found.prediction ? "agrees" : "differs"},
      node("button", {type: "button", class: "plain", title: near.id, onclick: () => openRow(near)},
        thumbnail(near.id, near.class, memory.generation)),
      node("b", {}, near.class ?? "no class"), meter(near.weight / most),
      node("span", {class: "note"}, `similarity ${near.similarity.toFixed(3)}`),
      node("span", {class: "id"}, near.id),
      node("div", {class: "actions"},
        node("button", {type: "button", "aria-label": `What if without ${near.id}?`,
          onclick: () => { without.push(near.id); again(); }}, "Without?"),
        node("button", {type: "button", "aria-label": `Relabel ${near.id}`,
          onclick: () => wantRelabelled([near.id])}, "Relabel…"),
        node("button", {type: "button", "aria-label": `Remove ${near.id}`,
          onclick: () => wantRemoved([near.id])}, "Remove"))))));
}

function meter(share) {
  const bar = node("i");
  bar.style.width = `${Math.round(100 * share)}%`;
  return node("span", {class: "meter", "aria-hidden": "true"}, bar);
}

export function begin() {
  const drop = $("drop"), file = $("file");
  drop.addEventListener("click", () => file.click());
  drop.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); file.click(); }
  });
  file.addEventListener("change", () => { ask(file.files[0]); file.value = ""; });
  // Anywhere on the page: a picture that is let go of must not replace it.
  document.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    ask(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => ask([...event.clipboardData.files][0]));
  $("voter").addEventListener("change", () => { drawHyper(); again(); });
  for (const id of ["k", "hyper"]) {
    $(id).addEventListener("input", () => {
      $("k-value").textContent = $("k").value;
      clearTimeout(wait);
      wait = setTimeout(again, 120);
    });
  }
  onChange(({moved}) => { drawVoters(); if (moved) { without = []; again(); } });
}
