
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const KEYS = "123456789abcdefghijklm";
const ARROWS = { ArrowLeft: "left", ArrowDown: "tie", ArrowRight: "right" };
const PREFIX = `livo-bench audit ${data.draw} `;
const LAST = "livo-bench audit rater";

let rater = "";
let answers = []; // pairs of an item's id and a choice, in the order of answering
let item = null; // the one that is asked now
let shown = false;

function alarm(text) {
  $("alert").textContent = text;
  $("alert").hidden = text === "";
}

// Answers ----------------------------------------------------------------------------------------

function recall(name) {
  try {
    const held = JSON.parse(localStorage.getItem(PREFIX + name) ?? "[]");
    const known = new Set(data.items.map(({ id }) => id));
    return held.filter(([id]) => known.has(id));
  } catch {
    return [];
  }
}

function keep() {
  try {
    localStorage.setItem(PREFIX + rater, JSON.stringify(answers));
    localStorage.setItem(LAST, rater);
  } catch {
    alarm("This browser keeps no answers: save the file before you close the page.");
  }
}

function save() {
  const held = { format: data.format, draw: data.draw, rater, answered: answers.length, answers };
  const file = new Blob([JSON.stringify(held, null, 1)], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `ratings-${rater.replace(/[^\p{L}\p{N}]+/gu, "-")}-${data.draw.slice(0, 8)}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function answer(choice) {
  if (!shown) {
    $("told").textContent = "Show the picture first: Space.";
    return;
  }
  answers.push([item.id, choice]);
  keep();
  next();
}

function undo() {
  if (answers.length > 0) {
    answers.pop();
    keep();
    next();
    $("told").textContent = "The last answer is undone.";
  }
}

// What is seen -----------------------------------------------------------------------------------

function show(id) {
  for (const name of ["start", "rate", "done"]) {
    $(name).hidden = name !== id;
  }
}

function reveal(now) {
  shown = now;
  $("show").setAttribute("aria-pressed", String(now));
  document.querySelectorAll("figure").forEach((figure) => figure.classList.toggle("shown", now));
  $("told").textContent = now ? "" : "Blurred until you ask.";
}

function picture(place, title) {
  const figure = document.createElement("figure");
  const image = document.createElement("img");
  image.src = data.pictures[place];
  image.alt = `${title}, to be looked at`;
  image.classList.toggle("small", data.small[place]);
  figure.append(image);
  if (title !== "Picture") {
    const caption = document.createElement("figcaption");
    caption.textContent = title;
    figure.append(caption);
  }
  return figure;
}

function button(choice, place) {
  const made = document.createElement("button");
  const key = document.createElement("kbd");
  key.textContent = KEYS[place];
  made.type = "button";
  made.dataset.choice = choice;
  made.setAttribute("aria-keyshortcuts", KEYS[place]);
  made.append(key, ` ${choice}`);
  made.addEventListener("click", () => answer(choice));
  return made;
}

function next() {
  const given = new Set(answers.map(([id]) => id));
  item = data.items.find(({ id }) => !given.has(id)) ?? null;
  $("undo").disabled = answers.length === 0;
  $("bar").max = data.items.length;
  $("bar").value = answers.length;
  if (item === null) {
    show("done");
    $("end").focus();
    return;
  }
  show("rate");
  const question = data.questions[item.question];
  $("count").textContent = `${answers.length} of ${data.items.length} answered`;
  $("question").textContent = question.text;
  $("text").textContent = item.text;
  $("text").hidden = item.text === "";
  const titles = item.pictures.length === 1 ? ["Picture"] : ["Left picture", "Right picture"];
  $("pictures").replaceChildren(...item.pictures.map((place, n) => picture(place, titles[n])));
  $("choices").replaceChildren(...question.choices.map(button));
  reveal($("always").checked);
  $("question").focus();
}

// Keys and clicks --------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (item === null || $("rate").hidden || event.ctrlKey || event.metaKey || event.altKey) {
    return;
  }
  const onControl = event.target.closest("button, input") !== null;
  const choices = data.questions[item.question].choices;
  const choice = ARROWS[event.key] ?? choices[KEYS.indexOf(event.key.toLowerCase())];
  if (event.key === " " && !onControl) {
    reveal(!shown);
  } else if (event.key === "Backspace") {
    undo();
  } else if (choices.includes(choice) && !event.repeat) {
    answer(choice);
  } else {
    return;
  }
  event.preventDefault();
});

$("show").addEventListener("click", () => reveal(!shown));
$("undo").addEventListener("click", undo);
$("back").addEventListener("click", undo);
$("always").addEventListener("change", () => reveal($("always").checked));
document.querySelectorAll(".save").forEach((one) => one.addEventListener("click", save));

function known() {
  const held = recall($("rater").value.trim());
  $("known").textContent =
    held.length === 0 ? "" : `${held.length} answers of this name are kept here, and go on.`;
}

$("rater").addEventListener("input", known);
$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  rater = $("rater").value.trim();
  if (rater === "") {
    $("rater").focus();
    return;
  }
  answers = recall(rater);
  keep();
  next();
});

try {
  $("rater").value = localStorage.getItem(LAST) ?? "";
} catch {
  alarm("This browser keeps no answers: save the file before you close the page.");
}
known();
show("start");
$("rater").focus();
