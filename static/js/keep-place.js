/* After an action in a dialog, the page leads back to the row (`#token-...`). If the row is no longer in the list, for
   example because a filter hides it now, this returns to where the person was. */
"use strict";

const KEPT = `place:${window.location.pathname}`;

document.addEventListener("submit", (event) => {
  if (event.target.closest("dialog")) sessionStorage.setItem(KEPT, String(window.scrollY));
});

const place = sessionStorage.getItem(KEPT);
sessionStorage.removeItem(KEPT);
const row = window.location.hash.slice(1);
if (place !== null && row && !document.getElementById(row)) window.scrollTo(0, Number(place));
