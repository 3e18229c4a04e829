/* A form with a `submission` id is sent once: further clicks while its answer is on the way do nothing. A page that the
   browser brings back from its memory gets an id of its own, so that its button works again. */
"use strict";

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.elements.submission || event.defaultPrevented) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "true";
});

window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const field of document.querySelectorAll("input[name=submission]")) {
    field.value = newId();
    delete field.form.dataset.sent;
  }
});
