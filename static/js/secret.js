/*
 * What a page shows once (`data-secret`) leaves the page with its reader: browsers keep pages for their Back button, and
 * whoever sits down next could press it. A page that comes back from there is asked for anew, and says that it was shown.
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
    // Not `reload`, which would send a form again.
    window.location.replace(window.location.pathname + window.location.search);
  }
});
