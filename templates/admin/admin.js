// A page that is looked at stays fresh; forms that cannot be undone ask first. Without scripts everything still works.
"use strict";

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

const seconds = Number(document.body.dataset.refresh);
const busy = () =>
  document.hidden ||
  document.getElementById("live").contains(document.activeElement) ||
  String(window.getSelection()).length > 0;

async function refresh() {
  if (busy()) return;
  const address = new URL(location.href);
  address.searchParams.delete("said");
  try {
    const answer = await fetch(address, { headers: { Accept: "text/html" } });
    if (answer.redirected) return location.reload();
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok || busy()) return;
    document.getElementById("live").replaceWith(page.getElementById("live"));
    document.title = page.title;
    document.body.classList.remove("stale");
  } catch {
    document.body.classList.add("stale");
  }
}

if (seconds > 0) setInterval(refresh, seconds * 1000);
