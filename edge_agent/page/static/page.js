// What the pages do by themselves: count down, look whether something changed, and take the code out of the address.
"use strict";

const LOOK_EVERY_MS = 5000;

function sayLeft(ms) {
  const minutes = Math.floor(ms / 60000);
  if (ms <= 0) return "over";
  if (minutes >= 120) return `${Math.floor(minutes / 60)} h left`;
  return minutes >= 1 ? `${minutes} min left` : `${Math.ceil(ms / 1000)} s left`;
}

function countDown() {
  for (const each of document.querySelectorAll("time[data-until]")) {
    each.dataset.text ??= each.textContent;
    each.textContent = `${each.dataset.text} (${sayLeft(Date.parse(each.dateTime) - Date.now())})`;
  }
}

let looking = false;

async function lookForNews() {
  // Whoever is choosing or typing keeps the page as it is; and a gateway that is slow is not asked twice at once.
  if (looking || document.hidden || ["SELECT", "INPUT"].includes(document.activeElement?.tagName)) return;
  looking = true;
  try {
    const answer = await fetch("/live", { redirect: "error" });
    if (answer.ok && (await answer.text()) !== document.body.dataset.mark) location.reload();
  } catch {
    // The next look tries again.
  } finally {
    looking = false;
  }
}

function takeCode() {
  const code = document.getElementById("code");
  if (!code || location.hash.length < 2) return;
  code.value = decodeURIComponent(location.hash.slice(1));
  // Not left in the history of the browser.
  history.replaceState(null, "", location.pathname);
  document.querySelector("input[name=name]").focus();
}

// A reload must not say again what was done once.
if (new URLSearchParams(location.search).has("done")) history.replaceState(null, "", location.pathname);
takeCode();
countDown();
setInterval(countDown, 1000);
if (document.body.dataset.mark) setInterval(lookForNews, LOOK_EVERY_MS);
