/* A button `data-copy="#id"` copies the text of that element and confirms it with its `data-copied`, or `data-selected`
   if the person must copy the selected text. Without scripts it stays hidden. */
"use strict";

const SAYS_COPIED_FOR_MS = 2500;

function selectText(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = window.getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}

/* Whether it was copied. If not, it is selected. */
async function copyText(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    // No clipboard (page without TLS, or permission denied): select the text, so that one keystroke copies it.
    selectText(element);
    return document.execCommand("copy");
  }
}

for (const button of document.querySelectorAll("[data-copy]")) {
  const label = button.textContent;
  const announcer = document.querySelector("[data-announcer]");
  let reset;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.querySelector(button.dataset.copy);
    const isCopied = await copyText(source);
    if (isCopied) document.dispatchEvent(new CustomEvent("portal:copied", { detail: source.textContent }));
    const said = isCopied ? button.dataset.copied : button.dataset.selected;
    button.textContent = said;
    announcer.textContent = said;
    clearTimeout(reset);
    reset = setTimeout(() => {
      button.textContent = label;
      announcer.textContent = "";
    }, SAYS_COPIED_FOR_MS);
  });
}
