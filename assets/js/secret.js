/*
 * Removes secrets (`data-secret`) when the reader leaves the page: browsers keep pages for their Back button, which the
 * next person could press. A page from the back/forward cache is loaded again, and says that the secret was shown.
 */
"use strict";

const secrets = () => document.querySelectorAll("[data-secret]");

window.addEventListener("pagehide", () => {
  for (const element of secrets()) {
    element.replaceChildren();
    element.removeAttribute("href");
  }
});

window.addEventListener("pageshow", (event) => {
  if (event.persisted && secrets().length > 0) {
    // Not `reload`, which would submit a form again.
    window.location.replace(window.location.pathname + window.location.search);
  }
});
