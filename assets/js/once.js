/* A form with a `submission` id ignores further clicks for 10 seconds while the browser waits for the answer. After that
   the same id can be sent again, for example when the person stopped loading: the server does it only once. A page that
   the browser restores from its back/forward cache gets a new id. */
"use strict";

const IGNORED_FOR_MS = 10000;

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.elements.submission || event.defaultPrevented) return;
  if (form.dataset.sent) event.preventDefault();
  else setTimeout(() => delete form.dataset.sent, IGNORED_FOR_MS);
  form.dataset.sent = "true";
});

window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const field of document.querySelectorAll("input[name=submission]")) {
    field.value = newId();
    delete field.form.dataset.sent;
  }
});
