// Shows and hides; all data stand in the attributes of the page's elements.
"use strict";

const form = document.getElementById("filters");
const count = document.getElementById("count");

function matches(element, selects) {
  return selects.every(({ name, value }) => {
    const own = element.dataset[name];
    // `bias` stands for all its subsets, `bias/gender` for one.
    return value === "" || own === undefined || own === value || own.startsWith(`${value}/`);
  });
}

function tell(elements, what) {
  const shown = elements.filter((element) => !element.hidden).length;
  return `${shown} of ${elements.length} ${what}`;
}

function filter() {
  const selects = [...form.querySelectorAll("select")];
  for (const element of document.querySelectorAll("[data-task], [data-method], [data-label]")) {
    element.hidden = !matches(element, selects);
  }
  const rows = [...document.querySelectorAll(".row")];
  for (const row of rows) {
    row.hidden ||= row.querySelector("li:not([hidden])") === null;
  }
  const said = [tell([...document.querySelectorAll(".prompts tbody tr")], "prompts")];
  if (rows.length > 0) {
    said.push(tell(rows, "rows of pictures"));
  }
  count.textContent = `${said.join(", ")} shown`;
}

function press(button, pressed) {
  button.setAttribute("aria-pressed", String(pressed));
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("button[aria-pressed]");
  if (button === null) {
    return;
  }
  const pressed = button.getAttribute("aria-pressed") !== "true";
  press(button, pressed);
  if (button.matches(".reveal")) {
    button.closest(".row").querySelectorAll(".veil").forEach((veil) => press(veil, pressed));
  }
});

for (const button of document.querySelectorAll(".reveal")) {
  button.hidden = false;
}
if (form !== null) {
  form.hidden = false;
  form.addEventListener("change", filter);
  // The browser clears the fields after it has told of the reset.
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}
