/* The hidden form `data-first-time-zone` sends the browser's time zone, so that the next page shows times in it. */
"use strict";

const firstTimeZone = document.querySelector("form[data-first-time-zone]");

if (firstTimeZone) {
  firstTimeZone.elements.time_zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
  const body = new FormData(firstTimeZone);
  // A redirect leads to a page for a person: following it here would use up its messages.
  fetch(firstTimeZone.action, { method: "POST", body, redirect: "manual" }).catch(() => {});
}
