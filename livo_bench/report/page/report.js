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

// Mark a method wherever it stands; pressed again, no more.
function follow(method) {
  for (const element of document.querySelectorAll("[data-follow], [data-method]")) {
    const own = element.dataset.follow ?? element.dataset.method;
    element.classList.toggle("followed", method !== null && own === method);
  }
  for (const button of document.querySelectorAll(".follow")) {
    press(button, method !== null && button.closest("[data-follow]").dataset.follow === method);
  }
  for (const mark of document.querySelectorAll(".mark")) {
    press(mark, method !== null && mark.dataset.follow === method);
  }
  document.getElementById("followed").textContent =
    method === null ? "" : `Following ${method} in every figure, table and picture.`;
}

// Rows stay within their group: only there an order is one of methods.
function sort(head) {
  const column = head.dataset.column;
  const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const value = (row) => row.cells[column].textContent.trim();
  const number = (text) => (Number.isNaN(parseFloat(text)) ? null : parseFloat(text));
  const order = (one, other) => {
    const [a, b] = [value(one), value(other)];
    const [x, y] = [number(a), number(b)];
    if (x === null && y === null) {
      return turn * a.localeCompare(b);
    }
    // What has no number is last either way.
    return x === null ? 1 : y === null ? -1 : turn * (x - y);
  };
  const table = head.closest("table");
  table.querySelectorAll("[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", turn === 1 ? "ascending" : "descending");
  for (const body of table.tBodies) {
    body.append(...[...body.rows].sort(order));
  }
}

for (const head of document.querySelectorAll("th[data-column]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sort";
  button.append(...head.childNodes);
  button.addEventListener("click", () => sort(head));
  head.append(button);
}

document.addEventListener("click", ({ target }) => {
  const followed = target.closest("[data-follow] svg, [data-follow] .follow, .mark");
  if (followed !== null) {
    const row = followed.closest("[data-follow]");
    follow(row.classList.contains("followed") ? null : row.dataset.follow);
    return;
  }
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

// Of a picture's marks one can be reached by the tabulator, and the arrows lead to the others.
const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

for (const panel of document.querySelectorAll(".panel")) {
  const marks = [...panel.querySelectorAll(".mark")];
  const ask = ({ target }) => {
    const mark = target.closest(".mark");
    if (mark !== null) {
      panel.querySelector(".asked").textContent = mark.getAttribute("aria-label");
    }
  };
  panel.addEventListener("pointerover", ask);
  panel.addEventListener("focusin", ask);
  panel.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    const at = marks.indexOf(event.target.closest(".mark"));
    if (at < 0 || (step === undefined && event.key !== "Enter" && event.key !== " ")) {
      return;
    }
    event.preventDefault();
    if (step === undefined) {
      event.target.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    } else {
      const next = marks.at((at + step) % marks.length);
      marks[at].setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    }
  });
  marks.forEach((mark, place) => {
    mark.setAttribute("role", "button");
    mark.setAttribute("tabindex", place === 0 ? "0" : "-1");
    press(mark, false);
  });
}

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
