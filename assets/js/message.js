/* A button `data-dismiss` removes its message. Without scripts the message stays. */
"use strict";

for (const button of document.querySelectorAll("[data-dismiss]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    button.closest(".message").remove();
    document.querySelector("main").focus({ preventScroll: true });
  });
}
