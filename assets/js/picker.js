/* Text fields that suggest people, groups, pipelines or tags while a person types (core/pages/suggestions.py).

   An editable combobox with a list (https://www.w3.org/WAI/ARIA/apg/patterns/combobox/). htmx requests the list. What is
   picked replaces the text of the field or, with `data-adds-to`, becomes a further line of that text field. With
   `data-text-remove`, the lines are a list with a button to remove each, and the text field is visible only while it has
   the focus: its label and the summary of errors lead to it. */
"use strict";

// As in core/pages/suggestions.py.
const TYPED_MAX_LENGTH = 100;

function announce(text) {
  document.querySelector("[data-announcer]").textContent = text;
}

function addLine(lines, value) {
  const kept = lines.value.split("\n").filter((line) => line.trim() && line.trim() !== value);
  lines.value = [...kept, value, ""].join("\n");
  lines.dispatchEvent(new Event("input", { bubbles: true }));
}

function linesOf(lines) {
  return lines.value.split("\n").map((line) => line.trim()).filter(Boolean);
}

// Shows the lines as a list before the label of the field that adds to them.
function showAsList(field, lines) {
  const list = document.createElement("ul");
  list.className = "picker-lines";
  field.closest(".picker-adding").prepend(list);
  lines.classList.add("is-listed");
  lines.tabIndex = -1;
  // Otherwise the browser refuses the form before a typed name is added. The server checks it.
  lines.required = false;

  function remove(value) {
    lines.value = linesOf(lines).filter((line) => line !== value).join("\n");
    lines.dispatchEvent(new Event("input", { bubbles: true }));
    announce(field.dataset.textRemoved.replace("{name}", () => value));
    field.focus();
  }

  function itemOf(value) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button small";
    button.textContent = "✕";
    button.setAttribute("aria-label", field.dataset.textRemove.replace("{name}", () => value));
    button.addEventListener("click", () => remove(value));
    item.append(value, button);
    return item;
  }

  const draw = () => list.replaceChildren(...linesOf(lines).map(itemOf));
  lines.addEventListener("input", draw);
  // Browsers restore what was typed when a person comes back to the page.
  window.addEventListener("pageshow", draw);
  draw();
}

function setUp(field, number) {
  const panel = field.nextElementSibling;
  const lines = document.getElementById(field.dataset.addsTo);
  // Whether the person is looking for something: a late answer must not open the list again.
  let isLooking = false;

  const options = () => [...panel.querySelectorAll("[role=option]")];
  const active = () => panel.querySelector("[aria-selected=true]");

  function activate(option) {
    for (const one of options()) one.setAttribute("aria-selected", String(one === option));
    if (option) field.setAttribute("aria-activedescendant", option.id);
    else field.removeAttribute("aria-activedescendant");
    option?.scrollIntoView({ block: "nearest" });
  }

  function show(isOpen) {
    isLooking = isOpen;
    panel.hidden = !isOpen;
    field.setAttribute("aria-expanded", String(isOpen && options().length > 0));
    if (!isOpen) activate(null);
  }

  function look() {
    isLooking = true;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function move(step) {
    if (panel.hidden) return look();
    const all = options();
    const at = all.indexOf(active());
    const next = at < 0 && step < 0 ? all.length - 1 : (at + step + all.length) % all.length;
    if (all.length) activate(all[next]);
  }

  function pick(option) {
    const { value } = option.dataset;
    show(false);
    field.value = lines ? "" : value;
    if (!lines) return;
    addLine(lines, value);
    announce(field.dataset.textAdded.replace("{name}", () => value));
  }

  // What nobody suggests is checked when the form is sent.
  function addTyped() {
    const typed = field.value.trim();
    if (!typed) return;
    addLine(lines, typed);
    field.value = "";
    show(false);
    announce(field.dataset.textAdded.replace("{name}", () => typed));
  }

  // Returns whether the key was used. Enter never sends a form from a field that only adds lines.
  function pressed(key) {
    if (key === "ArrowDown" || key === "ArrowUp") {
      move(key === "ArrowDown" ? 1 : -1);
      return true;
    }
    if (key === "Escape" && !panel.hidden) {
      show(false);
      return true;
    }
    if (key !== "Enter") return false;
    const chosen = active() ?? (lines && !panel.hidden && options().length === 1 ? options()[0] : null);
    if (chosen) pick(chosen);
    else if (field.dataset.textRemove) addTyped();
    return Boolean(chosen || lines);
  }

  panel.id = `picker-${number}`;
  field.setAttribute("role", "combobox");
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-expanded", "false");
  field.setAttribute("aria-controls", panel.id);
  field.closest(".picker-adding")?.removeAttribute("hidden");
  if (field.dataset.textRemove) {
    showAsList(field, lines);
    // People who type an address and go on without Enter mean it, too.
    field.form.addEventListener("submit", addTyped);
  }

  field.addEventListener("input", () => {
    isLooking = true;
    if (!field.value.trim()) show(false);
  });
  field.addEventListener("keydown", (event) => {
    // Enter and the arrows belong to an input method while it composes a letter.
    if (!event.isComposing && pressed(event.key)) event.preventDefault();
  });
  field.addEventListener("blur", () => show(false));
  // Keeps the focus in the field, also while the list is scrolled with the mouse.
  panel.addEventListener("mousedown", (event) => event.preventDefault());
  panel.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) pick(option);
  });

  field.addEventListener("htmx:configRequest", (event) => {
    const text = field.value.trim();
    if (!isLooking || !text || text.length > TYPED_MAX_LENGTH) return event.preventDefault();
    event.detail.parameters = { text };
    event.detail.headers["X-CSRFToken"] = document.querySelector("[name=csrfmiddlewaretoken]").value;
  });
  panel.addEventListener("htmx:afterSwap", () => {
    const list = panel.querySelector("[role=listbox]");
    options().forEach((option, index) => (option.id = `${panel.id}-${index}`));
    if (list) list.id = `${panel.id}-list`;
    field.setAttribute("aria-controls", list?.id ?? panel.id);
    if (!isLooking || document.activeElement !== field) return;
    show(true);
    activate(null);
    announce(panel.querySelector("[data-said]")?.textContent.trim() ?? "");
  });
}

document.querySelectorAll("[data-picker]").forEach(setUp);
