/* The form for a new token.

   A link that fills in the form with what it contains now (tokens/form_links.py); the button beside it copies the link
   (assets/js/copy.js). And when the token will expire, in the browser's time zone with UTC beside it: for each
   `time[data-end]`, and for the date that a person chooses, in `[data-end-of-date]`. Without scripts, the page shows
   UTC.

   After an action, the page leads back to the row (`#token-...`), or if a filter hides it, to the next one
   (`#name-...`); or to the list if the page has neither. */
"use strict";

const form = document.querySelector("[data-token-form]");
const link = form.querySelector("[data-form-link]");

/* Ids in one parameter, or each typed name in one of its own. A link for "Only these" says so even without any. */
function pipelinesIn(typed) {
  if (typed.get("which_pipelines") !== "only") return {};
  const given = typed.getAll("pipelines");
  if (!form.querySelector("textarea[name=pipelines]")) return { pipelines: given.join(",") };
  const names = given.join("\n").split("\n").map((name) => name.trim()).filter(Boolean);
  return { pipelines: names.length ? names : "" };
}

/* The start time, typed in the person's time zone, in UTC: the reader of the link may be in another one. */
function inUtc(typed) {
  const asIfUtc = Date.parse(`${typed}Z`);
  if (Number.isNaN(asIfUtc)) return typed;
  const zone = { timeZone: form.dataset.timeZone || "UTC", hourCycle: "h23" };
  const format = new Intl.DateTimeFormat("en", { ...zone, year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" });
  const offsetAt = (moment) => {
    const part = Object.fromEntries(format.formatToParts(moment).map(({ type, value }) => [type, Number(value)]));
    return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) - moment;
  };
  // The offset there may be another one than at the first guess, because of summer time.
  return new Date(asIfUtc - offsetAt(asIfUtc - offsetAt(asIfUtc))).toISOString().replace(/(:00)?\.000Z$/, "Z");
}

/* For `service`, its short name; none for the portal. What is chosen for one doesn't exist for another. */
function addressOfForm(service = form.querySelector("input[name=service]")?.value ?? "") {
  const typed = new FormData(form);
  if (service !== (typed.get("service") ?? "")) for (const name of ["scopes", "which_pipelines"]) typed.delete(name);
  const lifetime = typed.get("lifetime") ?? "";
  const date = lifetime === "custom" ? typed.get("expires_at") : "";
  const parts = {
    name: typed.get("name").trim(),
    service,
    scopes: typed.getAll("scopes").join(","),
    ...pipelinesIn(typed),
    networks: typed.get("networks").split(/[\s,;]+/).filter(Boolean).join(","),
    max_uses: typed.get("max_uses"),
    not_before: inUtc(typed.get("not_before")),
    lifetime: lifetime === "custom" && !date ? "" : lifetime,
    expires_at: date,
  };
  const query = Object.entries(parts)
    .filter(([name, value]) => value || name === "pipelines")
    .flatMap(([name, value]) => [value].flat().map((one) => `${name}=${encodeURIComponent(one).replaceAll("%2C", ",")}`));
  return `${window.location.origin}${form.getAttribute("action").split("?")[0]}?${query.join("&")}`;
}

function showLink() {
  link.textContent = addressOfForm();
}

// Which pipelines: what is chosen is sent only with "Only these", and a field finds pipelines by their names.
const choice = form.querySelector("[data-pipeline-choice]");
const chosen = choice?.querySelectorAll("input[name=pipelines], textarea[name=pipelines]");
const only = choice?.querySelector("input[value=only]");

function showChoice() {
  // A token for a service has no pipelines.
  if (!choice) return;
  for (const field of chosen) field.disabled = !only.checked;
  const status = choice.querySelector("[data-text-chosen]");
  if (status) status.textContent = status.dataset.textChosen.replace("{count}", [...chosen].filter((box) => box.checked).length);
}

for (const filter of choice?.querySelectorAll("[data-filter-of]") ?? []) {
  const field = filter.querySelector("input");
  const labels = document.getElementById(filter.dataset.filterOf).querySelectorAll("label");
  filter.hidden = false;
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") event.preventDefault();
  });
  field.addEventListener("input", (event) => {
    // Finding a pipeline changes nothing that is sent.
    event.stopPropagation();
    const text = field.value.trim().toLocaleLowerCase();
    for (const label of labels) label.hidden = !label.querySelector("[data-name]").textContent.toLocaleLowerCase().includes(text);
  });
}

// The preset chooses the one scope that runs pipelines, and "Only these". What else was typed stays.
form.querySelector("[data-run-one]")?.addEventListener("click", (event) => {
  event.preventDefault();
  for (const box of form.querySelectorAll("input[name=scopes]")) box.checked = box.value === "pipeline";
  only.checked = true;
  only.dispatchEvent(new Event("input", { bubbles: true }));
  choice.scrollIntoView({ block: "center" });
  (choice.querySelector("input[type=search], textarea") ?? choice).focus({ preventScroll: true });
});

// Another form keeps what was typed, except the description: links have none.
for (const way of form.querySelectorAll("[data-service-choice]")) {
  way.addEventListener("click", () => {
    way.href = addressOfForm(way.dataset.serviceChoice);
  });
}

form.addEventListener("input", showChoice);
window.addEventListener("pageshow", showChoice);
// Browsers restore the choice when a person comes back to the page, and the scopes count the one of before.
window.addEventListener("pageshow", () => {
  const isRestored = choice && (only.checked !== only.defaultChecked || [...chosen].some((field) => field.type === "checkbox" && field.checked !== field.defaultChecked));
  if (isRestored) choice.dispatchEvent(new Event("input"));
});
form.addEventListener("input", showLink);
// Browsers restore what was typed when a person comes back to the page.
window.addEventListener("pageshow", showLink);

// `data-text-...` on the form: the texts in the reader's language, with the names of their parts in braces.
function textOf(name, parts) {
  return form.dataset[name].replace(/\{(\w+)\}/g, (_, part) => parts[part]);
}

// In English, the day is before the month.
const LOCALE = document.documentElement.lang === "en" ? "en-GB" : document.documentElement.lang;
const PARTS = { day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit" };

function partsOf(moment, options) {
  const format = new Intl.DateTimeFormat(LOCALE, { ...PARTS, ...options });
  return Object.fromEntries(format.formatToParts(moment).map((part) => [part.type, part.value]));
}

// The person's, or else the browser's.
const ZONE = form.dataset.timeZone || undefined;

// "UTC−5", as in all other times: "GMT-5" is the browser's word, and "EST" that of one language (core/reading.py).
const offsetOf = (name) => name.replace("GMT", "UTC").replace("-", "\u2212");

/* "6 December 2026, 19:05 UTC−5 (7 December, 00:05 UTC)": the date of UTC only if it is another day. */
function inBothZones(moment) {
  const local = partsOf(moment, { timeZone: ZONE, timeZoneName: "shortOffset" });
  const utc = partsOf(moment, { timeZone: "UTC" });
  const time = `${utc.hour}:${utc.minute} UTC`;
  if (local.hour === utc.hour && local.minute === utc.minute && local.day === utc.day) return textOf("textMoment", { ...utc, time });
  const here = textOf("textMoment", { ...local, time: `${local.hour}:${local.minute} ${offsetOf(local.timeZoneName)}` });
  return local.day === utc.day ? `${here} (${time})` : `${here} (${textOf("textDay", { ...utc, time })})`;
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
    output.textContent = end && end > new Date() ? textOf("textExpires", { moment: inBothZones(end) }) : "";
  };
  field.addEventListener("input", show);
  window.addEventListener("pageshow", show);
}

const row = window.location.hash.slice(1);
if (/^(token|name)-/.test(row) && !document.getElementById(row)) {
  document.getElementById("tokens-heading").scrollIntoView();
}
