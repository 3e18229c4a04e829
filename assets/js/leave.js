/* A page with `data-ask-before-leaving` shows a secret once. The browser asks before the page is left, unless the secret
   was copied, alone or within other text, or a link `data-saved` was followed. */
"use strict";

const guarded = document.querySelector("[data-ask-before-leaving]");

if (guarded) {
  const withoutSpaces = (text) => text.replace(/\s+/g, "");
  const secret = withoutSpaces(guarded.querySelector("[data-secret]").textContent);
  let isSaved = false;
  const note = (text) => {
    isSaved ||= withoutSpaces(text).includes(secret);
  };
  document.addEventListener("copy", () => note(window.getSelection().toString()));
  // Sent by a button that copied something (copy.js).
  document.addEventListener("portal:copied", (event) => note(event.detail));
  document.addEventListener("click", (event) => {
    isSaved ||= Boolean(event.target.closest("[data-saved]"));
  });
  window.addEventListener("beforeunload", (event) => {
    if (!isSaved) event.preventDefault();
  });
}
