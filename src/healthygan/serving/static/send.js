// Writes to the server: each brings along the session's token.
const csrf = document.querySelector('meta[name="csrf"]').content;

/** Posts JSON, or a text as it is; gives the answer's JSON. Throws with a sentence for the reader. */
export async function post(address, content = {}, type = "application/json") {
  const body = type === "application/json" ? JSON.stringify(content) : content;
  let answer;
  try {
    answer = await fetch(address, { method: "POST", headers: { "content-type": type, "x-csrf-token": csrf }, body });
  } catch {
    throw new Error("the server does not answer: nothing was saved");
  }
  const text = await answer.text();
  if (answer.ok) return JSON.parse(text);
  let told = text;
  try { told = JSON.parse(text).detail ?? text; } catch { /* plain text */ }
  throw new Error(`${told} (nothing was saved)`);
}
