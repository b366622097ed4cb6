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
/** The file or image that was last asked about. */
let subject = null;
/** The last file taken, by number: one that was taken before it and decoded after it is too late. */
let taken = 0;
const nothing = () => "";
let shownAbout = nothing;
let shownNotice = nothing;

const paper = new Paper(byId("paper"), {
  changed(finished) {
    rawFile = null;
    if (finished) chosen = null;
    refresh();
  },
  penMoved: (pen) => result?.showPen(pen),
  penSet: (down) => sayNow(down ? words().penDown : words().penUp),
  deleted: clear,
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

const reader = new Reader({ read, failed, well: () => notify(nothing) });

function picture() {
  if (rawFile) return { blob: Promise.resolve(rawFile), place: null };
  return paper.picture();
}

function refresh() {
  showHint();
  disable(byId("undo"), !paper.canUndo);
  disable(byId("clear"), paper.isEmpty && rawFile === null);
  const previous = subject;
  subject = rawFile ?? paper.scene.image;
  // What was read in one image is wrong beside another.
  if (subject !== previous) {
    reader.forget();
    result.clear(nothing);
    showAbout(nothing);
  }
  if (paper.isEmpty && !rawFile) {
    reader.forget();
    result.clear(() => words().nothing);
    showAbout(nothing);
    say(words().cleared);
  } else {
    reader.ask(picture, chosen);
  }
}

/** A button that was really disabled would lose the focus. */
function disable(button, disabled) {
  button.setAttribute("aria-disabled", String(disabled));
}

function read(reading, { place, ms }) {
  if (reading.digits.length === 0) {
    result.clear(() => words().none);
    say(words().none);
  } else {
    const last = reading.digits.length - 1;
    const index = Math.min(chosen ?? last, last);
    result.show(reading, index, place, paper.scene.image !== null);
    say(words().announced(reading.text, reading.digits.some(({ sure }) => !sure)));
  }
  const { network, version } = reading.model;
  showAbout(() => words().about(ms, network, version));
}

/** What stands on paper that has nothing to show. */
function showHint() {
  byId("hint").hidden = !paper.isEmpty;
  byId("hint").textContent = rawFile ? rawFile.name : words().hint;
}

function showAbout(text) {
  shownAbout = text;
  byId("about").textContent = text();
}

function failed(kind, why) {
  notify(() => words().trouble[kind](why));
}

/** Shows a text, or none where it is empty. */
function notify(text) {
  shownNotice = text;
  const notice = byId("notice");
  notice.hidden = text() === "";
  // What says the same again is not to be said aloud again.
  if (notice.textContent !== text()) notice.textContent = text();
}

/** Has screen readers say it, once the hand rests. */
function say(text) {
  clearTimeout(announcement);
  announcement = setTimeout(() => sayNow(text), SAID_AFTER);
}

/** Has screen readers say it, and nothing else that was still to be said. */
function sayNow(text) {
  clearTimeout(announcement);
  if (byId("status").textContent !== text) byId("status").textContent = text;
}

async function take(file) {
  if (!file) return;
  notify(nothing);
  taken += 1;
  const number = taken;
  const image = await reduced(file).catch(() => null);
  if (number !== taken) return;
  chosen = null;
  if (image) {
    paper.put(image);
  } else {
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
  taken += 1;
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
  showHint();
  result.again();
  showAbout(shownAbout);
  notify(shownNotice);
});
