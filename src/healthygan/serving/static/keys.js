// Keys and what they do; the same table is what ? shows. Keys can be switched off there (WCAG 2.1.4).
const OFF = "keys-off";

/** Listens for keys. `table` is a list of {keys, text, run}; `keys` as in KeyboardEvent.key. */
export function listen(table, dialog) {
  const byKey = new Map(table.flatMap((entry) => entry.keys.map((key) => [key, entry])));
  byKey.set("?", { run: () => show(table, dialog) });
  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input:not([type=checkbox]):not([type=range]), textarea, select");
    if (event.key === "Escape" && field) return field.blur();
    if (field || dialog.open || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("button, a, input") && [" ", "Enter"].includes(event.key)) return;
    if (event.target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
    if (event.key !== "?" && event.key !== "Escape" && localStorage.getItem(OFF)) return;
    const entry = byKey.get(event.key);
    if (!entry) return;
    event.preventDefault();
    entry.run();
  });
}

/** Opens the table of keys. */
export function show(table, dialog) {
  const title = element("h2", "Keys");
  title.id = "help-title";
  const rows = element("table");
  for (const { keys, text } of table) {
    const row = rows.insertRow();
    const cell = row.insertCell();
    for (const key of keys) cell.append(element("kbd", key === " " ? "space" : key.replace("Arrow", "")), " ");
    row.insertCell().textContent = text;
  }
  const label = element("label");
  label.className = "tick";
  const tick = Object.assign(element("input"), { type: "checkbox", checked: !localStorage.getItem(OFF) });
  tick.addEventListener("change", () => tick.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1"));
  label.append(tick, "keys work");
  const close = element("button", "Close");
  close.addEventListener("click", () => dialog.close());
  const head = element("div");
  head.className = "head";
  head.append(title, label, close);
  dialog.replaceChildren(head, rows);
  dialog.showModal();
}

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
