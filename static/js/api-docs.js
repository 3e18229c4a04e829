/* Starts Swagger UI in #api-docs. Requests to the portal carry the CSRF token; others do not. */
"use strict";

const reference = document.querySelector("#api-docs");

window.SwaggerUIBundle({
  domNode: reference,
  url: reference.dataset.schema,
  presets: [window.SwaggerUIBundle.presets.apis],
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
  displayRequestDuration: true,
  persistAuthorization: false,
  tryItOutEnabled: false,
  validatorUrl: null,
  requestInterceptor: (request) => {
    const url = new URL(request.url, window.location.href);
    if (url.origin === window.location.origin) request.headers["X-CSRFToken"] = reference.dataset.csrf;
    return request;
  },
});
