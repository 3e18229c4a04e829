/* A form `data-passkey` asks the browser for a passkey on submit and sends the result as `credential`.

   `data-passkey-in-field` also offers the passkeys of this device in a field with `autocomplete="... webauthn"`
   ("conditional mediation"), while a person fills it in. `data-focus` on the button puts the focus on it.

   `data-passkey="create"` creates one, `data-passkey="get"` uses one. The options are in the JSON element that
   `data-passkey-options` names, or come from the address in `data-passkey-url`. The element `data-passkey-message` has
   the translated text for each kind of failure. */
"use strict";

// Errors of the browser, and the `data-` attribute with the text for each.
const FAILURES = {
  NotAllowedError: "notAllowed",
  InvalidStateError: "alreadyAdded",
  SecurityError: "notSecure",
};

function bytesOf(base64url) {
  const base64 = base64url.replaceAll("-", "+").replaceAll("_", "/");
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function base64urlOf(buffer) {
  const base64 = btoa(String.fromCharCode(...new Uint8Array(buffer)));
  return base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

const withBytes = (credentials) => (credentials ?? []).map((known) => ({ ...known, id: bytesOf(known.id) }));

async function create({ publicKey }) {
  const credential = await navigator.credentials.create({
    publicKey: {
      ...publicKey,
      challenge: bytesOf(publicKey.challenge),
      user: { ...publicKey.user, id: bytesOf(publicKey.user.id) },
      excludeCredentials: withBytes(publicKey.excludeCredentials),
    },
  });
  return sent(credential, ["clientDataJSON", "attestationObject"]);
}

async function get({ publicKey }, further = {}) {
  const credential = await navigator.credentials.get({
    ...further,
    publicKey: {
      ...publicKey,
      challenge: bytesOf(publicKey.challenge),
      allowCredentials: withBytes(publicKey.allowCredentials),
    },
  });
  return sent(credential, ["clientDataJSON", "authenticatorData", "signature", "userHandle"]);
}

function sent(credential, parts) {
  const present = parts.filter((part) => credential.response[part]);
  return {
    id: credential.id,
    rawId: base64urlOf(credential.rawId),
    type: credential.type,
    response: Object.fromEntries(present.map((part) => [part, base64urlOf(credential.response[part])])),
    clientExtensionResults: credential.getClientExtensionResults(),
  };
}

async function optionsOf(form) {
  const { passkeyOptions, passkeyUrl } = form.dataset;
  if (passkeyOptions) return JSON.parse(document.getElementById(passkeyOptions).textContent);
  const response = await fetch(passkeyUrl, { headers: { Accept: "application/json" }, credentials: "same-origin" });
  if (!response.ok) throw new Error(`The options are not there: ${response.status}`);
  return response.json();
}

async function credentialFor(form) {
  const options = await optionsOf(form);
  return form.dataset.passkey === "create" ? create(options.creation_options) : get(options.request_options);
}

// Requests that wait for a person to choose a passkey in a field, by form. The browser allows one request at a time.
const offers = new Map();

async function offerInField(form) {
  if (!(await window.PublicKeyCredential?.isConditionalMediationAvailable?.())) return;
  offers.get(form)?.abort();
  const offer = new AbortController();
  offers.set(form, offer);
  try {
    const { request_options: options } = await optionsOf(form);
    if (offer.signal.aborted) return;
    const credential = await get(options, { mediation: "conditional", signal: offer.signal });
    form.elements.credential.value = JSON.stringify(credential);
    form.requestSubmit();
  } catch {
    // The person did not ask for it, so there is nothing to say.
  }
}

function say(form, failure) {
  const message = form.querySelector("[data-passkey-message]");
  message.textContent = failure ? message.dataset[failure] : "";
  message.hidden = !failure;
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const button = form.querySelector("button[type=submit]");
  const field = form.elements.credential;
  button.hidden = false;
  if ("focus" in button.dataset) button.focus();
  // A credential that comes back with the page is already used.
  field.value = "";
  form.addEventListener("submit", async (event) => {
    if (field.value) return;
    event.preventDefault();
    say(form, window.PublicKeyCredential ? "" : "unsupported");
    if (!window.PublicKeyCredential || button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    offers.get(form)?.abort();
    try {
      field.value = JSON.stringify(await credentialFor(form));
      form.requestSubmit();
    } catch (error) {
      say(form, FAILURES[error.name] ?? "failed");
      if ("passkeyInField" in form.dataset) offerInField(form);
    } finally {
      button.ariaBusy = null;
    }
  });
  if (!("passkeyInField" in form.dataset)) continue;
  offerInField(form);
  // Another tab may have requested options since. Only the last ones of a session are valid.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && !field.value) offerInField(form);
  });
}
