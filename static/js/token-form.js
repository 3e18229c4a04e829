/* The form for a new token: a link that fills in the form with what it contains now (tokens/form_links.py). The button
   beside it copies the link (assets/js/copy.js). */
"use strict";

const form = document.querySelector("[data-token-form]");
const link = form.querySelector("[data-form-link]");

function addressOfForm() {
  const typed = new FormData(form);
  const lifetime = typed.get("lifetime") ?? "";
  const date = lifetime === "custom" ? typed.get("expires_at") : "";
  const parts = {
    name: typed.get("name").trim(),
    scopes: typed.getAll("scopes").join(","),
    lifetime: lifetime === "custom" && !date ? "" : lifetime,
    expires_at: date,
  };
  const query = Object.entries(parts)
    .filter(([, value]) => value)
    .map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll("%2C", ",")}`);
  return `${window.location.origin}${form.getAttribute("action")}?${query.join("&")}`;
}

function showLink() {
  link.textContent = addressOfForm();
}

form.addEventListener("input", showLink);
// Browsers restore what was typed when a person comes back to the page.
window.addEventListener("pageshow", showLink);
