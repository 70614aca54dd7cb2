// The reference's contents: closed at first on a narrow screen, and showing which operation is being read.
const contents = document.getElementById("contents");
const narrow = matchMedia("(max-width: 60rem)");
if (contents) {
  contents.open = !narrow.matches;
  narrow.addEventListener("change", () => { contents.open = !narrow.matches; });
  contents.addEventListener("click", (event) => { if (narrow.matches && event.target.closest("a")) contents.open = false; });
}

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
