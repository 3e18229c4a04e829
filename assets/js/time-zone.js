/* The hidden form `data-first-time-zone` sends the browser's time zone, so that the next page shows times in it. */
"use strict";

const firstTimeZone = document.querySelector("form[data-first-time-zone]");

if (firstTimeZone) {
  firstTimeZone.elements.time_zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
  fetch(firstTimeZone.action, { method: "POST", body: new FormData(firstTimeZone) }).catch(() => {});
}
