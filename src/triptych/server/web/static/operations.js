// Comfort of the pages for operators: times in the reader's zone and as how long ago, errors of forms shown.
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const AGO = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function ago(seconds) {
  const size = Math.abs(seconds);
  if (size > 30 * 86400) return "";
  const [unit, length] = UNITS.find(([, length]) => size >= length) ?? UNITS.at(-1);
  return AGO.format(-Math.trunc(seconds / length), unit);
}

// "4.2 s", "3 min 20 s", "2 h 5 min".
function lasting(seconds) {
  if (seconds < 60) return `${Math.max(0, seconds).toFixed(1)} s`;
  const [big, small, length, part] = seconds < 3600 ? ["min", "s", 60, 1] : ["h", "min", 3600, 60];
  return `${Math.floor(seconds / length)} ${big} ${Math.floor((seconds % length) / part)} ${small}`;
}

function tell(time) {
  const at = new Date(time.dateTime);
  const seconds = (Date.now() - at) / 1000;
  const full = FULL.format(at);
  if (time.dataset.form === "since") {
    // What stands before it, "since", is only for readers without scripts.
    const before = time.previousSibling;
    if (before?.nodeType === Node.TEXT_NODE) before.data = before.data.replace(/since $/, "for ");
    time.textContent = lasting(seconds);
    time.title = `since ${full}`;
  } else if (time.dataset.form === "full") {
    time.textContent = full;
    time.title = ago(seconds);
  } else {
    time.textContent = ago(seconds) || full;
    time.title = full;
  }
}

function tellAll(root = document) {
  if (root.matches?.("time[datetime]")) tell(root);
  root.querySelectorAll?.("time[datetime]").forEach(tell);
}

tellAll();
setInterval(() => document.querySelectorAll("time[data-form=since]").forEach(tell), 500);
setInterval(tellAll, 15000);
document.addEventListener("htmx:load", (event) => tellAll(event.target));

// An answer that says why a form was not done is a page like any other.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, requestConfig } = event.detail;
  if (xhr.status < 400 || requestConfig.verb !== "post") return;
  event.detail.shouldSwap = true;
  event.detail.isError = false;
});
