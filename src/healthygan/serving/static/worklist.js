// The worklist: start reading, take in verdicts, keys. Filters and pages are htmx's.
import { listen, show } from "./keys.js";
import { post } from "./send.js";

const told = document.getElementById("told");

async function start() {
  try {
    const { case: id } = await post("/next");
    if (id === null) told.textContent = "All cases are read.";
    else location.assign(`/case/${id}?queue=1`);
  } catch (error) {
    told.textContent = error.message;
  }
}

async function takeIn(event) {
  const file = event.target.files[0];
  event.target.value = "";
  if (!file) return;
  try {
    const { added } = await post("/verdicts/import", await file.text(), "text/csv");
    told.textContent = `${added} verdicts taken in.`;
    htmx.trigger("#filters", "submit");
    htmx.ajax("GET", "/progress", "#progress");
  } catch (error) {
    told.textContent = error.message;
  }
}

const go = (text) => () => [...document.querySelectorAll(".pager a")].find((link) => link.textContent === text)?.click();
const keys = [
  { keys: ["s"], text: "start reading", run: start },
  { keys: ["/"], text: "search", run: () => document.getElementById("search").focus() },
  { keys: ["n"], text: "next page", run: go("Next") },
  { keys: ["k"], text: "previous page", run: go("Previous") },
  { keys: ["Escape"], text: "leave a field", run: () => document.activeElement.blur() },
];
document.getElementById("start").addEventListener("click", start);
document.getElementById("import").addEventListener("change", takeIn);
listen(keys, document.getElementById("help"));
document.getElementById("keys")?.addEventListener("click", () => show(keys, document.getElementById("help")));
