// What the pages do by themselves: count down, look whether something changed, and take the code out of the address.
"use strict";

const LOOK_EVERY_MS = 5000;

function sayLeft(ms) {
  const minutes = Math.floor(ms / 60000);
  const { over, left } = document.body.dataset;
  if (ms <= 0) return over;
  const inMinutes = minutes >= 1 ? `${minutes} min` : `${Math.ceil(ms / 1000)} s`;
  return left.replace("{length}", minutes >= 120 ? `${Math.floor(minutes / 60)} h` : inMinutes);
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

let asked = 0;

async function preview(form) {
  const mine = ++asked;
  const answer = await fetch(form.dataset.preview, { method: "POST", body: new URLSearchParams(new FormData(form)), redirect: "error" });
  const text = await answer.text();
  if (mine !== asked) return; // a later choice was asked about
  const lines = answer.ok ? text.split("\n") : [form.dataset.fault];
  document.getElementById("preview").replaceChildren(...lines.map((line) => {
    const item = document.createElement("li");
    item.textContent = line;
    return item;
  }));
}

for (const form of document.querySelectorAll("form[data-preview]")) {
  const show = () => preview(form).catch(() => {});
  form.addEventListener("change", show);
  show();
}

// A reload must not say again what was done once.
if (new URLSearchParams(location.search).has("done")) history.replaceState(null, "", location.pathname);
takeCode();
countDown();
setInterval(countDown, 1000);
if (document.body.dataset.mark) setInterval(lookForNews, LOOK_EVERY_MS);
