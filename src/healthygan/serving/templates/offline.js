const body = document.querySelector("tbody"), told = document.getElementById("told");
const rows = [...body.rows], store = "healthygan " + document.body.dataset.model;
const nameOf = (row) => row.dataset.frame + " " + row.dataset.path;
let kept = {};
try { kept = JSON.parse(localStorage.getItem(store)) || {}; } catch { told.textContent = "this browser keeps nothing: export before you leave"; }

function count() {
  told.textContent = Object.keys(kept).length + " read";
}

for (const row of rows) {
  const select = row.querySelector("select");
  select.value = kept[nameOf(row)]?.verdict ?? "";
  select.addEventListener("change", () => {
    if (select.value) kept[nameOf(row)] = { verdict: select.value, time: new Date().toISOString() };
    else delete kept[nameOf(row)];
    try { localStorage.setItem(store, JSON.stringify(kept)); } catch { /* said above */ }
    count();
  });
}

function sortBy(column, falling) {
  const cell = (row) => row.cells[column].textContent;
  const order = (a, b) => cell(a) - cell(b) || (isNaN(cell(a)) ? cell(a).localeCompare(cell(b)) : 0);
  body.append(...rows.sort((a, b) => (falling ? -order(a, b) : order(a, b))));
}

for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th"), falling = heading.ariaSort === "ascending";
    for (const other of document.querySelectorAll("th")) other.removeAttribute("aria-sort");
    heading.ariaSort = falling ? "descending" : "ascending";
    sortBy(Number(button.dataset.sort), falling);
  });
}

const quoted = (cell) => '"' + (/^[=+\-@\t\r']/.test(cell) ? "'" + cell : cell).replaceAll('"', '""') + '"';

document.getElementById("export").addEventListener("click", () => {
  const lines = ["path,frame,verdict,time"];
  for (const row of rows) {
    const own = kept[nameOf(row)];
    if (own) lines.push([quoted(row.dataset.path), row.dataset.frame, own.verdict, own.time].join(","));
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }));
  link.download = "verdicts.csv";
  link.click();
});
count();
