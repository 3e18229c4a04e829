/* Forms that sign in send the browser's time zone, so that already the first page shows times in it. */
"use strict";

for (const field of document.querySelectorAll("input[name=browser_time_zone]")) {
  field.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
}
