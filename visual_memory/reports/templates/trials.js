"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
let session = null;   // {study, participant, responses, ...}: what is saved
let shownAt = 0;      // when the current trial appeared, in milliseconds

// ---- Keeping answers between visits ------------------------------------------
const slot = (participant) => `trials/${data.study}/${participant}`;

function recall(participant) {
  try {
    const found = JSON.parse(localStorage.getItem(slot(participant)));
    return found && found.study === data.study ? found : null;
  } catch { return null; }
}

function keep() {
  try {
    localStorage.setItem(slot(session.participant), JSON.stringify(session));
  } catch { $("storage").hidden = false; }
}

// ---- The course of a session ---------------------------------------------------
const course = () => data.orders[(session.participant - 1) % data.orders.length];
const conditions = () =>
  data.conditions[(session.participant - 1) % data.conditions.length];

function show(id) {
  for (const part of ["start", "trial", "end"]) $(part).hidden = part !== id;
  $("stop").hidden = id !== "trial";
}

function begin(participant) {
  session = recall(participant) || {study: data.study, participant,
    started: new Date().toISOString(), responses: []};
  keep();
  advance();
}

function advance() {
  if (session.responses.length >= data.trials.length) return finish();
  show("trial");
  const place = session.responses.length, index = course()[place];
  const trial = data.trials[index], condition = conditions()[index];
  $("progress").max = data.trials.length;
  $("progress").value = place;
  $("progress-text").textContent = `${place + 1} of ${data.trials.length}`;
  $("question").textContent = condition === "B"
    ? data.questionWithNeighbors : data.question;
  $("stimulus").replaceChildren(...stimulus(trial, condition));
  const offered = [...trial.choices, ...data.extras];
  $("last-key").textContent = offered.length;
  $("choices").replaceChildren(...offered.map((text, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(Object.assign(document.createElement("kbd"), {textContent: i + 1}), ` ${text}`);
    // The second click of a double one would answer the next trial unseen.
    button.addEventListener("click", (event) => event.detail < 2 && answer(i, text));
    return button;
  }));
  $("question").focus({preventScroll: true});
  scrollTo(0, 0);
  shownAt = performance.now();
}

function stimulus(trial, condition) {
  const image = (index, alt) => {
    const made = document.createElement("img");
    made.src = data.pictures[index];
    made.alt = alt;
    if (data.tiny[index]) made.className = "tiny";
    return made;
  };
  const asked = document.createElement("figure");
  asked.className = "asked-image";
  asked.append(image(trial.picture, "The image that the question is about"));
  if (condition !== "B") return [asked];
  const list = document.createElement("ol");
  list.className = "evidence";
  trial.neighbors.forEach((index, i) => {
    const item = document.createElement("li");
    item.append(image(index, `Similar image ${i + 1}`));
    list.append(item);
  });
  return [asked, list];
}

function answer(choice, text) {
  const place = session.responses.length, index = course()[place];
  session.responses.push({position: place + 1, trial: data.trials[index].name,
    condition: conditions()[index], choice, choice_name: text,
    seconds: Math.round(performance.now() - shownAt) / 1000});
  if (session.responses.length === data.trials.length)
    session.finished = new Date().toISOString();
  keep();
  advance();
}

function finish() {
  show("end");
  const left = data.trials.length - session.responses.length;
  $("thanks").textContent = left ? "Stopped" : "Thank you";
  $("end-text").textContent = `${session.responses.length} of `
    + `${data.trials.length} answers.`
    + (left ? " Come back to this page with the same number to go on." : "");
  $("thanks").focus();
}

// ---- Saving --------------------------------------------------------------------
function save(kind, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/plain"}));
  link.download = `responses-${data.study}-${session.participant}.${kind}`;
  link.click();
  URL.revokeObjectURL(link.href);
}

const CSV = ["position", "trial", "condition", "choice", "choice_name", "seconds"];
const quoted = (value) => `"${String(value).replaceAll('"', '""')}"`;

function asCsv() {
  const lines = session.responses.map((response) =>
    [session.study, session.participant, ...CSV.map((name) => response[name])]
      .map(quoted).join(","));
  return [["study", "participant", ...CSV].join(","), ...lines, ""].join("\n");
}

// ---- Wiring --------------------------------------------------------------------
$("save-json").addEventListener("click", () => save("json", JSON.stringify(session, null, 2)));
$("save-csv").addEventListener("click", () => save("csv", asCsv()));
$("stop").addEventListener("click", finish);
$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  begin(Number($("participant").value));
});
$("participant").addEventListener("input", () => {
  const found = recall(Number($("participant").value));
  $("resume").textContent = found && found.responses.length
    ? `${found.responses.length} of ${data.trials.length} answers are kept here:`
      + " you go on from there." : "";
  $("begin").textContent = $("resume").textContent ? "Go on" : "Begin";
});
document.addEventListener("keydown", (event) => {
  if ($("trial").hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const button = $("choices").children[Number(event.key) - 1];
  if (button && /^[1-9]$/.test(event.key)) { event.preventDefault(); button.click(); }
});
const given = new URLSearchParams(location.search).get("participant");
if (given) $("participant").value = given;
show("start");
$("participant").dispatchEvent(new Event("input"));
