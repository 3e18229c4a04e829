/* A page with `data-ask-before-leaving` shows something once. The browser asks before it is left, unless the text was
   copied or a link `data-saved` was followed. */
"use strict";

if (document.querySelector("[data-ask-before-leaving]")) {
  let isSaved = false;
  document.addEventListener("copy", () => {
    isSaved = true;
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-copy], [data-saved]")) isSaved = true;
  });
  window.addEventListener("beforeunload", (event) => {
    if (!isSaved) event.preventDefault();
  });
}
