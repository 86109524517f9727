// Asks what is new; what it shows was escaped where it was rendered.
"use strict";

const live = document.getElementById("live");
const show = document.getElementById("show");
const report = document.getElementById("report");
let version = "0";
let last = "";

function take() {
  const found = live.firstElementChild.dataset.version;
  if (found !== version) {
    version = found;
    report.src = `report/index.html?${version}`;
  }
}

async function ask() {
  try {
    const text = await (await fetch("live")).text();
    if (text !== last) {
      last = text;
      live.innerHTML = text;
      take();
    }
    setTimeout(ask, 2000);
  } catch {
    live.insertAdjacentHTML("afterbegin", '<p class="missing">livo-bench view has ended.</p>');
  }
}

show.addEventListener("click", () => {
  show.setAttribute("aria-pressed", String(show.getAttribute("aria-pressed") !== "true"));
});
take();
ask();
