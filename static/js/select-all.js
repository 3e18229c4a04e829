/* A checkbox `data-select-all="form"` ticks all checkboxes of that form on this page. Without scripts it stays hidden. */
"use strict";

for (const all of document.querySelectorAll("[data-select-all]")) {
  const boxes = [...document.querySelectorAll(`input[type="checkbox"][form="${all.dataset.selectAll}"]`)];
  const show = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    all.checked = ticked > 0 && ticked === boxes.length;
    all.indeterminate = ticked > 0 && ticked < boxes.length;
  };
  all.closest("label").hidden = boxes.length === 0;
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
  });
  for (const box of boxes) box.addEventListener("change", show);
  // Browsers restore ticked boxes when a person comes back to the page.
  window.addEventListener("pageshow", show);
}
