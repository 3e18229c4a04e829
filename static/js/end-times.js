/* When a new token will expire, in the browser's time zone with UTC beside it: for each `time[data-end]`, and for the
   date that a person chooses, in `[data-end-of-date]`. Without scripts, the page shows UTC. */
"use strict";

const PARTS = { day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit" };

function partsOf(moment, options) {
  const format = new Intl.DateTimeFormat("en-GB", { ...PARTS, ...options });
  return Object.fromEntries(format.formatToParts(moment).map((part) => [part.type, part.value]));
}

/* "6 December 2026, 19:05 GMT-5 · 7 December, 00:05 UTC": the date of UTC only if it is another day. */
function inBothZones(moment) {
  const local = partsOf(moment, { timeZoneName: "short" });
  const utc = partsOf(moment, { timeZone: "UTC" });
  const time = `${utc.hour}:${utc.minute} UTC`;
  if (moment.getTimezoneOffset() === 0) return `${utc.day} ${utc.month} ${utc.year}, ${time}`;
  const here = `${local.day} ${local.month} ${local.year}, ${local.hour}:${local.minute} ${local.timeZoneName}`;
  return local.day === utc.day ? `${here} · ${time}` : `${here} · ${utc.day} ${utc.month}, ${time}`;
}

for (const time of document.querySelectorAll("time[data-end]")) {
  time.textContent = inBothZones(new Date(time.dateTime));
}

/* The last second of that day in UTC, or the latest allowed moment (tokens/lifetimes.py). */
function endOfDate(date, latest) {
  const end = new Date(`${date}T23:59:59Z`);
  return Number.isNaN(end.getTime()) || date > latest.toISOString().slice(0, 10) ? null : new Date(Math.min(end, latest));
}

for (const output of document.querySelectorAll("[data-end-of-date]")) {
  const field = document.getElementById(output.dataset.endOfDate);
  const show = () => {
    const end = endOfDate(field.value, new Date(output.dataset.latest));
    output.textContent = end && end > new Date() ? `Expires on ${inBothZones(end)}` : "";
  };
  field.addEventListener("input", show);
  window.addEventListener("pageshow", show);
}
