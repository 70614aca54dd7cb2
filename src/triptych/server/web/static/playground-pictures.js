// The pictures that go with the next message: picked, dropped, pasted, or drawn examples.

const MOST = 64;
// A body has a limit of its own on the server; what is larger than this is better scaled down first.
const MOST_BYTES = 30 * 2 ** 20;

/** The strip of pictures above the message. `changed()` is called after each change, `refused(text)` says what is wrong. */
export class Pictures {
  constructor(list, { changed, refused }) {
    Object.assign(this, { list, changed, refused, items: [] });
  }

  /** Takes files in; those that are no pictures are refused by name. */
  add(files) {
    const wrong = [];
    for (const file of files) {
      if (!file.type.startsWith("image/")) wrong.push(`${file.name || "That"} is not a picture.`);
      else if (file.size > MOST_BYTES) wrong.push(`${file.name} has ${megabytes(file.size)}; the most is ${megabytes(MOST_BYTES)}.`);
      else if (this.items.length >= MOST) wrong.push(`${file.name} is one too many: a message takes ${MOST} pictures.`);
      else this.put(file, nameOf(file, this.items.length));
    }
    this.changed();
    if (wrong.length) this.refused(wrong.join(" "));
  }

  /** Puts a drawn example in, in place of one that was chosen before. */
  example(blob, name, alt) {
    for (const item of this.items.filter((each) => each.example)) this.drop(item);
    this.put(blob, name, alt, true);
    this.changed();
  }

  put(blob, given, alt, example = false) {
    const name = this.free(given);
    alt ??= `Picture: ${name}`;
    const item = { blob, name, alt, example, url: URL.createObjectURL(blob), line: document.createElement("li") };
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "play-remove";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `Remove ${name}`);
    remove.addEventListener("click", () => this.remove(item));
    item.line.append(thumbnail(item), remove);
    this.list.append(item.line);
    this.items.push(item);
  }

  /** The name, with a number if a picture of this message has it already: code reads the pictures by their names. */
  free(name) {
    const [, stem, end] = /^(.*?)(\.[^.]*)?$/s.exec(name);
    let found = name;
    for (let number = 2; this.items.some((item) => item.name === found); number += 1) found = `${stem}-${number}${end ?? ""}`;
    return found;
  }

  /** Takes one out, as its button does: the focus goes to the next one's button, or to the message. */
  remove(item) {
    const place = this.items.indexOf(item);
    this.drop(item);
    URL.revokeObjectURL(item.url);
    this.changed();
    const next = this.items[Math.min(place, this.items.length - 1)];
    (next?.line.querySelector("button") ?? document.getElementById("prompt")).focus();
  }

  drop(item) {
    item.line.remove();
    this.items = this.items.filter((each) => each !== item);
  }

  /** Hands the pictures over to a message that is sent; none is left here. */
  take() {
    const taken = this.items;
    for (const item of taken) item.line.remove();
    this.items = [];
    return taken;
  }
}

/** A picture as an element. */
export function thumbnail({ url, alt, name }) {
  const image = document.createElement("img");
  Object.assign(image, { src: url, alt, title: name, className: "play-thumb" });
  // Not every browser shows every format that the server reads.
  image.addEventListener("error", () => image.replaceWith(nameTag(name)));
  return image;
}

function nameTag(name) {
  const tag = document.createElement("span");
  tag.className = "play-thumb play-unseen";
  tag.textContent = name;
  return tag;
}

/** A picture as the data URI that goes out. */
export function dataUri(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(blob);
  });
}

/** Lets `zone` take files that are dropped on it, and the page those that are pasted; then `field` has the focus. */
export function receive(zone, field, pictures) {
  let inside = 0;
  const carries = (event) => [...event.dataTransfer.types].includes("Files");
  const over = (by) => {
    inside = Math.max(0, inside + by);
    zone.classList.toggle("dropping", inside > 0);
  };
  zone.addEventListener("dragenter", (event) => { if (carries(event)) over(1); });
  zone.addEventListener("dragleave", (event) => { if (carries(event)) over(-1); });
  zone.addEventListener("dragover", (event) => { if (carries(event)) event.preventDefault(); });
  zone.addEventListener("drop", (event) => {
    over(-inside);
    if (!carries(event)) return;
    event.preventDefault();
    pictures.add(event.dataTransfer.files);
    field.focus();
  });
  document.addEventListener("paste", (event) => {
    const { files = [], types = [] } = event.clipboardData ?? {};
    // Word processors put a picture of the text beside the text in both of its forms: then the text is meant.
    if (!files.length || (types.includes("text/plain") && types.includes("text/html"))) return;
    event.preventDefault();
    pictures.add(files);
    field.focus();
  });
}

// What is pasted has no name of its own, or the same one each time.
function nameOf(file, number) {
  const kind = file.type.slice("image/".length).replace("jpeg", "jpg").replace(/\W.*/, "");
  return file.name && file.name !== "image.png" ? file.name : `pasted-${number + 1}.${kind}`;
}

function megabytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}
