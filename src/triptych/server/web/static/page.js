// Comfort that every page has: copying, "/" for the search, links that open what they point into.
document.documentElement.classList.add("js");

const told = document.getElementById("told");
const waiting = new WeakMap();

/** Says it to screen readers. */
export function say(text) {
  told.textContent = text;
}

/** Puts text on the clipboard; whether that worked. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedByHand(text);
  }
}

// Browsers give the clipboard to pages from https and from this machine only; a selection works elsewhere too.
function copiedByHand(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  // A block of code is what it shows; anything else says what is copied.
  const code = button.closest(".command")?.querySelector("code");
  const done = await copy(button.dataset.copy ?? code.textContent);
  clearTimeout(waiting.get(button));
  button.dataset.said = done ? "Copied" : "Cannot copy here";
  say(button.dataset.said);
  waiting.set(button, setTimeout(() => { delete button.dataset.said; say(""); }, 1600));
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  const search = document.querySelector("input[type=search]");
  if (event.key !== "/" || typing || !search || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  search.focus();
});

// A link to something in a closed part opens it.
function opened() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
}
addEventListener("hashchange", opened);
opened();

// On a narrow screen the navigation scrolls: show where we are.
document.querySelector(".sections [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
