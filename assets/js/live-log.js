/* Adds new entries at the top of a live log (templates/auditlog/live_switch.html).

   htmx requests them and inserts the rows. The event `log-read` says up to where the log was read, and how many rows
   are new. Rows in which a person has the focus or selects text are never removed. */
"use strict";

const toggle = document.querySelector("a[role=switch]");
const live = document.querySelector("[data-live-cursor]");

// Links have no space key, but switches do.
toggle?.addEventListener("keydown", (event) => {
  if (event.key !== " ") return;
  event.preventDefault();
  toggle.click();
});

function isInUse(row) {
  const selection = document.getSelection();
  const isSelected = selection && !selection.isCollapsed && selection.containsNode(row, true);
  return isSelected || row.contains(document.activeElement);
}

function follow(table) {
  const rows = table.tBodies[0].rows;
  const most = Number(live.dataset.mostRows);
  let cursor = live.dataset.liveCursor;
  live.textContent = live.dataset.liveSays;

  function removeOldest() {
    const oldest = [...rows].slice(most).filter((row) => !isInUse(row));
    for (const row of oldest) row.remove();
    return oldest.length > 0;
  }

  // The link to older entries would skip those that are no longer here.
  function sayThatOldestAreGone() {
    document.getElementById("live-cut").hidden = false;
    const older = document.querySelector(".pager a[rel=next]");
    if (older && older !== document.activeElement) older.hidden = true;
  }

  live.addEventListener("htmx:configRequest", (event) => {
    // A hidden tab requests nothing. When it is shown again, it gets everything at once.
    if (document.visibilityState === "hidden") event.preventDefault();
    event.detail.parameters.after = cursor;
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") live.dispatchEvent(new Event("shown"));
  });

  live.addEventListener("log-read", ({ detail }) => {
    cursor = detail.cursor;
    if (detail.count) {
      table.querySelector("tr.empty")?.remove();
      [...rows].forEach((row, index) => row.toggleAttribute("data-new", index < detail.count));
      // Replaced in two steps, so that a screen reader also announces the same words again.
      live.textContent = "";
      setTimeout(() => (live.textContent = detail.said), 100);
    }
    if (removeOldest() || detail.isCut) sayThatOldestAreGone();
  });
}

if (live) follow(document.querySelector(live.getAttribute("hx-target")).closest("table"));
