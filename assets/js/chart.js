/* A chart is one stop of the Tab key; arrow keys, Home and End move between its bars. */
"use strict";

const STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

document.addEventListener("keydown", (event) => {
  const bar = event.target.closest?.(".chart-bar");
  if (!bar || !(event.key in STEPS)) return;
  event.preventDefault();
  const bars = [...bar.parentElement.querySelectorAll(".chart-bar[tabindex]")];
  const place = Math.min(Math.max(bars.indexOf(bar) + STEPS[event.key], 0), bars.length - 1);
  bar.setAttribute("tabindex", "-1");
  bars[place].setAttribute("tabindex", "0");
  bars[place].focus();
});
