// Ties the page together.

import { Paper } from "./paper.js";
import { Reader } from "./reader.js";
import { Result } from "./result.js";
import { onLanguage, words } from "./words.js";

const byId = (id) => document.getElementById(id);

/** Photos are reduced to this many pixels a side: digits in them are still large. */
const LONGEST_SIDE = 1600;
/** What is read is said aloud once it has stayed the same for this long. */
const SAID_AFTER = 700;

let chosen = null;
let announcement = null;
/** A file that the browser cannot show but the server may read. */
let rawFile = null;

const paper = new Paper(byId("paper"), {
  changed(finished) {
    rawFile = null;
    if (finished) chosen = null;
    refresh();
  },
  penMoved: (pen) => result?.showPen(pen),
});

const result = new Result({
  text: byId("text"),
  bars: byId("bars"),
  seen: byId("seen"),
  maps: byId("maps"),
  marks: byId("marks"),
  choose(index) {
    chosen = index;
    reader.ask(picture, chosen);
  },
});

const reader = new Reader({ read, failed, well: () => notify(null) });

function picture() {
  if (rawFile) return { blob: Promise.resolve(rawFile), place: null };
  return paper.picture();
}

function refresh() {
  byId("hint").hidden = !paper.isEmpty;
  byId("hint").textContent = rawFile ? rawFile.name : words().hint;
  byId("undo").disabled = !paper.canUndo;
  byId("clear").disabled = paper.isEmpty && rawFile === null;
  if (paper.isEmpty && !rawFile) {
    reader.forget();
    result.clear(true);
    byId("about").textContent = "";
    say(words().cleared);
  } else {
    reader.ask(picture, chosen);
  }
}

function read(reading, { place, ms }) {
  if (reading.digits.length === 0) {
    chosen = null;
    result.clear(false);
    say(words().none);
  } else {
    if (chosen !== null && chosen >= reading.digits.length) chosen = null;
    const index = chosen ?? reading.digits.length - 1;
    result.show(reading, index, place, paper.scene.image !== null);
    say(words().announced(reading.text, reading.digits.some(({ confidence }) => confidence < 0.5)));
  }
  const { network, version } = reading.model;
  shownAbout = () => words().about(ms, network, version);
  byId("about").textContent = shownAbout();
}

let shownAbout = () => "";

function failed(kind, why) {
  const text = words().trouble[kind];
  notify(typeof text === "function" ? text(why) : text);
}

function notify(text) {
  const notice = byId("notice");
  notice.hidden = text === null;
  if (notice.textContent !== (text ?? "")) notice.textContent = text ?? "";
}

/** Has screen readers say it, once the hand rests. */
function say(text) {
  clearTimeout(announcement);
  announcement = setTimeout(() => {
    if (byId("status").textContent !== text) byId("status").textContent = text;
  }, SAID_AFTER);
}

async function take(file) {
  if (!file) return;
  notify(null);
  chosen = null;
  try {
    paper.put(await reduced(file));
  } catch {
    paper.clear();
    rawFile = file;
    refresh();
  }
}

/** The image in a file, upright, with sides of at most so many pixels. */
async function reduced(file) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  if (scale === 1) return { bitmap, width, height };
  const options = { resizeWidth: width, resizeHeight: height, resizeQuality: "high" };
  const small = await createImageBitmap(bitmap, options);
  bitmap.close();
  return { bitmap: small, width, height };
}

function clear() {
  if (rawFile) {
    rawFile = null;
    refresh();
  }
  paper.clear();
}

byId("undo").addEventListener("click", () => paper.undo());
byId("clear").addEventListener("click", clear);

for (const [button, input] of [["open", "file"], ["photograph", "camera"]]) {
  byId(button).addEventListener("click", () => byId(input).click());
  byId(input).addEventListener("change", ({ target }) => {
    take(target.files[0]);
    // The same file may be chosen again.
    target.value = "";
  });
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z") {
    event.preventDefault();
    paper.undo();
  }
});

document.addEventListener("paste", ({ clipboardData }) => {
  take([...clipboardData.files].find(({ type }) => type.startsWith("image/")));
});

let over = 0;
const target = (on) => byId("frame").classList.toggle("target", on);

document.addEventListener("dragenter", (event) => {
  event.preventDefault();
  over += 1;
  target(true);
});
document.addEventListener("dragleave", () => {
  over -= 1;
  target(over > 0);
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  over = 0;
  target(false);
  take(event.dataTransfer.files[0]);
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => result.again());
new ResizeObserver(() => result.again()).observe(byId("marks"));

onLanguage(() => {
  if (paper.isEmpty && !rawFile) result.clear(true);
  else result.again();
  byId("about").textContent = shownAbout();
});
