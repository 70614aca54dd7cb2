// Copying, which needs a script; without one the buttons stay hidden. And on a narrow screen the contents begin closed.
for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    let said = "Copied";
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      said = copiedByHand(button.dataset.copy) ? "Copied" : "Cannot copy here";
    }
    button.textContent = said;
    document.getElementById("told").textContent = said;
    setTimeout(() => { button.textContent = "Copy"; document.getElementById("told").textContent = ""; }, 1600);
  });
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

const contents = document.getElementById("contents");
const narrow = matchMedia("(max-width: 60rem)");
if (contents) {
  contents.open = !narrow.matches;
  narrow.addEventListener("change", () => { contents.open = !narrow.matches; });
  contents.addEventListener("click", (event) => { if (narrow.matches && event.target.closest("a")) contents.open = false; });
}

// A link to a field in a closed part opens it.
function opened() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let part = target?.parentElement; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
}
addEventListener("hashchange", opened);
opened();

// The contents show which operation is being read.
const links = new Map([...document.querySelectorAll(".contents li a")].map((link) => [link.hash.slice(1), link]));
const watcher = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (!isIntersecting) continue;
    for (const link of links.values()) link.removeAttribute("aria-current");
    links.get(target.id)?.setAttribute("aria-current", "true");
    const link = links.get(target.id), nav = link?.closest("nav");
    if (nav && !narrow.matches) {
      const place = link.offsetTop - nav.clientHeight / 2;
      nav.scrollTo({ top: place });
    }
  }
}, { rootMargin: "-15% 0px -75% 0px" });
for (const id of links.keys()) {
  const article = document.getElementById(id);
  if (article) watcher.observe(article);
}
