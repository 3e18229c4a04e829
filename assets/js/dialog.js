/* A link `data-dialog` shows the `[data-dialog-content]` of its target page in a dialog on this page.

   The form inside is that page's form and is submitted as such. If anything unexpected happens (signed out, no network,
   an error), the browser follows the link. */
"use strict";

async function contentOf(url) {
  const response = await fetch(url, { credentials: "same-origin" });
  if (!response.ok || response.redirected) return null;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  return page.querySelector("[data-dialog-content]");
}

function show(content, opener) {
  const dialog = document.createElement("dialog");
  const title = document.createElement("h2");
  title.id = "dialog-title";
  title.textContent = content.dataset.dialogTitle;
  dialog.className = "dialog";
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.append(title, document.importNode(content, true));
  dialog.addEventListener("click", (event) => {
    if (!event.target.closest("[data-dialog-close]")) return;
    event.preventDefault();
    dialog.close();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    opener.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
}

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-dialog]");
  if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  if (link.ariaBusy === "true") return;
  link.ariaBusy = "true";
  const content = await contentOf(link.href).catch(() => null);
  link.ariaBusy = null;
  if (content) show(content, link);
  else window.location.assign(link.href);
});
