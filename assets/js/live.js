/* Parts of a page that refresh themselves (htmx).

   If the response is not that part (signed out, an error page), the whole page is loaded, instead of showing one page
   inside another. After too many requests (429) nothing changes. Screen readers announce the text of `data-announce`
   when it changes. */
"use strict";

let announced = document.querySelector("[data-announce]")?.dataset.announce;

document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, pathInfo } = event.detail;
  // Nothing has changed: keep the content, including text that a person is typing.
  if (xhr.status === 204) return;
  const asked = new URL(pathInfo.finalRequestPath, window.location.href).pathname;
  if (xhr.status === 200 && new URL(xhr.responseURL).pathname === asked) return;
  event.detail.shouldSwap = false;
  if (xhr.status < 500 && xhr.status !== 429) window.location.reload();
});

document.addEventListener("htmx:afterSwap", () => {
  const said = document.querySelector("[data-announce]")?.dataset.announce;
  if (!said || said === announced) return;
  announced = said;
  document.querySelector("[data-announcer]").textContent = said;
});
