// Makes every chunk's text one stop of the Tab key, in which arrows move from token to token; Enter or Space
// opens a token's row of the table below it. Without this script the page shows the same, less handily.
"use strict";

const tokens = [...document.querySelectorAll(".token")];
const chunkOf = (token) => token.closest(".chunk");
const firstOf = (chunk) => chunk.querySelector(".token");

for (const token of tokens) {
  token.setAttribute("role", "button");
  token.setAttribute("aria-expanded", "false");
  token.setAttribute("aria-controls", chunkOf(token).querySelector(".details").id);
  token.setAttribute("aria-describedby", chunkOf(token).querySelector(".readout").id);
  token.tabIndex = token === firstOf(chunkOf(token)) ? 0 : -1;
}
for (const hint of document.querySelectorAll(".readout")) {
  hint.dataset.hint = hint.textContent = "Point at a token, or go with the arrow keys; Enter for all its numbers.";
}

const cellsOf = (token) => {
  const table = chunkOf(token).querySelector(".losses table");
  const row = table.tBodies[0].rows[[...chunkOf(token).querySelectorAll(".token")].indexOf(token)];
  return [...table.tHead.rows[0].cells].map((head, i) => [head.textContent, row.cells[i].textContent]);
};

const look = (token) => {
  const values = cellsOf(token).map(([, value]) => value);
  chunkOf(token).querySelector(".readout").textContent =
    `Token ${values[1]}: ${values[2]} nats with neighbours, ${values.at(-2)} with none`;
  for (const other of document.querySelectorAll(".matched")) other.classList.remove("matched");
  for (const at of (token.dataset.matches ?? "").split(" ").filter(Boolean))
    chunkOf(token).querySelector(`[data-at="${at}"]`)?.classList.add("matched");
};

const leave = (chunk) => {
  chunk.querySelector(".readout").textContent = chunk.querySelector(".readout").dataset.hint;
  for (const other of chunk.querySelectorAll(".matched")) other.classList.remove("matched");
};

const close = (chunk) => {
  chunk.querySelector(".details").hidden = true;
  chunk.querySelector('[aria-expanded="true"]')?.setAttribute("aria-expanded", "false");
};

const open = (token) => {
  close(chunkOf(token));
  const list = document.createElement("dl");
  for (const [name, value] of cellsOf(token)) {
    list.append(document.createElement("dt"), document.createElement("dd"));
    list.children[list.children.length - 2].textContent = name;
    list.lastElementChild.textContent = value;
  }
  const details = chunkOf(token).querySelector(".details");
  details.replaceChildren(list);
  details.hidden = false;
  token.setAttribute("aria-expanded", "true");
};

const toggle = (token) => (token.getAttribute("aria-expanded") === "true" ? close(chunkOf(token)) : open(token));

const go = (token) => {
  if (!token) return;
  const wasOpen = !chunkOf(document.activeElement)?.querySelector(".details").hidden;
  for (const other of chunkOf(token).querySelectorAll('.token[tabindex="0"]')) other.tabIndex = -1;
  token.tabIndex = 0;
  token.focus();
  if (wasOpen && chunkOf(token).querySelector('[aria-expanded="true"]')) open(token);
};

const neighbouringChunk = (token, step) => {
  const chunks = [...document.querySelectorAll(".chunk")];
  const chunk = chunks[chunks.indexOf(chunkOf(token)) + step];
  return chunk && firstOf(chunk);
};

document.addEventListener("keydown", (event) => {
  const token = event.target.closest(".token");
  if (!token || event.ctrlKey || event.altKey || event.metaKey) return;
  const inChunk = [...chunkOf(token).querySelectorAll(".token")];
  const act = {
    ArrowRight: () => go(tokens[tokens.indexOf(token) + 1]),
    ArrowLeft: () => go(tokens[tokens.indexOf(token) - 1]),
    ArrowDown: () => go(neighbouringChunk(token, 1)),
    ArrowUp: () => go(neighbouringChunk(token, -1)),
    Home: () => go(inChunk[0]),
    End: () => go(inChunk.at(-1)),
    Enter: () => toggle(token),
    " ": () => toggle(token),
    Escape: () => close(chunkOf(token)),
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
for (const [come, go_] of [["focusin", "focusout"], ["pointerover", "pointerout"]]) {
  document.addEventListener(come, (event) => event.target.closest(".token") && look(event.target.closest(".token")));
  document.addEventListener(go_, (event) => event.target.closest(".token") && leave(chunkOf(event.target)));
}
document.addEventListener("click", (event) => {
  const token = event.target.closest(".token");
  if (token) (go(token), toggle(token));
});
