// Shows what was read: the digits, the probabilities, what the network saw.

import { WIDTH } from "./paper.js";
import { percent, words } from "./words.js";

/** More digits than this are shown small. */
const MANY = 8;
const GAP = 2;

export class Result {
  constructor({ text, bars, seen, maps, marks, choose }) {
    Object.assign(this, { text, seen, maps, marks, choose });
    this.bars = Array.from({ length: 10 }, (_, digit) => {
      const item = element("li");
      const bar = element("span", "bar");
      const track = element("span", "track");
      track.append(bar);
      const percent = element("span", "percent");
      const name = element("span", "name", String(digit));
      for (const shown of [percent, name]) shown.setAttribute("aria-hidden", "true");
      const said = element("span", "unseen");
      item.append(percent, track, name, said);
      bars.append(item);
      return { item, bar, percent, said };
    });
    this.clear(() => words().nothing);
  }

  /** Shows no reading; `message()` says why. */
  clear(message) {
    this.shown = null;
    this.message = message;
    this.text.className = "text";
    this.#replaceText([element("p", "none", message())]);
    this.#showBars(null);
    for (const canvas of [this.seen, this.maps]) this.#wipe(canvas);
    this.#mark([], null, false);
  }

  /**
   * Shows a reading; `chosen` is the digit looked into, `place` how the picture lies on the paper, if
   * it does.
   */
  show(reading, chosen, place, withBoxes) {
    const { digits, activations } = reading;
    this.shown = { reading, chosen, place, withBoxes };
    this.#showText(reading, chosen);
    this.#showBars(digits[chosen].probabilities);
    this.#showSeen(bytes(digits[chosen].seen));
    // An answer to an earlier question may have those of another digit.
    if (activations?.digit === chosen) this.#showMaps(activations);
    else this.#wipe(this.maps);
    this.#mark(digits, chosen, place && (withBoxes || digits.length > 1), place);
  }

  /** Shows the same again: in other words, or in other colors. */
  again() {
    if (this.shown) {
      const { reading, chosen, place, withBoxes } = this.shown;
      this.show(reading, chosen, place, withBoxes);
    } else {
      this.clear(this.message);
    }
  }

  #showText({ text, digits }, chosen) {
    let next = 0;
    const lines = text.split("\n").map((line) => {
      const row = element("div", "line");
      for (const _ of line) {
        const index = next;
        next += 1;
        const { digit, confidence, sure } = digits[index];
        const button = element("button", sure ? "" : "unsure");
        button.type = "button";
        button.setAttribute("aria-pressed", String(index === chosen));
        button.setAttribute("aria-label", words().digit(digit, sure, confidence));
        button.append(
          element("span", "digit", sure ? `${digit}` : `${digit}?`),
          element("span", "sure", sure ? percent(confidence) : words().unsure),
        );
        button.addEventListener("click", () => this.choose(index));
        row.append(button);
      }
      return row;
    });
    this.text.className = digits.length > MANY ? "text many" : "text";
    this.#replaceText(lines);
  }

  /** The focus stays on the digit that it was on, or near it. */
  #replaceText(lines) {
    const buttons = () => [...this.text.querySelectorAll("button")];
    const focused = buttons().indexOf(document.activeElement);
    this.text.replaceChildren(...lines);
    if (focused >= 0) (buttons()[focused] ?? buttons().at(-1) ?? this.text).focus();
  }

  #showBars(probabilities) {
    const most = probabilities ? Math.max(...probabilities) : 1;
    this.bars.forEach(({ item, bar, percent: label, said }, digit) => {
      const share = probabilities?.[digit] ?? 0;
      bar.style.transform = `scaleY(${share})`;
      label.textContent = share >= 0.01 ? percent(share) : "";
      said.textContent = words().bar(digit, share);
      item.classList.toggle("top", share === most);
    });
  }

  #wipe(canvas) {
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  }

  #showSeen(pixels) {
    const context = this.seen.getContext("2d");
    const image = context.createImageData(28, 28);
    paint(image, 0, 0, 28, 28, pixels, rgb(getComputedStyle(this.seen).color));
    context.putImageData(image, 0, 0);
  }

  #showMaps({ height, width, channels, data }) {
    const columns = channels <= 8 ? 4 : 8;
    const rows = Math.ceil(channels / columns);
    const { maps } = this;
    maps.width = columns * (width + GAP) - GAP;
    maps.height = rows * (height + GAP) - GAP;
    const context = maps.getContext("2d");
    const image = context.createImageData(maps.width, maps.height);
    const values = bytes(data);
    const accent = getComputedStyle(document.documentElement).getPropertyValue("--accent");
    for (let map = 0; map < channels; map += 1) {
      const x = (map % columns) * (width + GAP);
      const y = Math.floor(map / columns) * (height + GAP);
      const part = values.subarray(map * height * width, (map + 1) * height * width);
      paint(image, x, y, width, height, part, rgb(accent));
    }
    context.putImageData(image, 0, 0);
  }

  /** Boxes on the paper around what was read. */
  #mark(digits, chosen, visible, place) {
    const { marks } = this;
    const ratio = devicePixelRatio || 1;
    marks.width = Math.round(marks.clientWidth * ratio);
    marks.height = Math.round(marks.clientHeight * ratio);
    this.boxes = { digits, chosen, visible, place };
    this.showPen(this.pen);
  }

  #drawBoxes() {
    const { marks, boxes } = this;
    if (!boxes?.visible) return;
    const context = marks.getContext("2d");
    const scale = marks.width / WIDTH;
    const styles = getComputedStyle(document.documentElement);
    const accent = styles.getPropertyValue("--accent");
    const unit = marks.width / marks.clientWidth;
    context.font = `600 ${13 * unit}px system-ui, sans-serif`;
    boxes.digits.forEach(({ box: [x, y, width, height], digit, sure }, index) => {
      const { place } = boxes;
      const margin = 5 * unit;
      const left = (x * place.scale + place.x) * scale - margin;
      const top = (y * place.scale + place.y) * scale - margin;
      const wide = width * place.scale * scale + 2 * margin;
      const tall = height * place.scale * scale + 2 * margin;
      context.globalAlpha = index === boxes.chosen ? 1 : 0.45;
      context.strokeStyle = context.fillStyle = accent;
      context.lineWidth = 1.5 * unit;
      context.beginPath();
      context.roundRect(left, top, wide, tall, 6 * unit);
      context.stroke();
      context.globalAlpha = 1;
      const label = sure ? `${digit}` : `${digit}?`;
      context.fillText(label, left + 2 * unit, Math.max(top - 4 * unit, 12 * unit));
    });
  }

  /** Shows where the pen is that the keys move, or that there is none. */
  showPen(pen) {
    this.pen = pen;
    const { marks } = this;
    const context = marks.getContext("2d");
    context.clearRect(0, 0, marks.width, marks.height);
    this.#drawBoxes();
    if (!pen) return;
    const scale = marks.width / WIDTH;
    const unit = marks.width / marks.clientWidth;
    context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
    context.lineWidth = 2 * unit;
    context.globalAlpha = 1;
    context.beginPath();
    context.arc(pen.x * scale, pen.y * scale, (pen.down ? 9 : 14) * unit, 0, 2 * Math.PI);
    context.stroke();
  }
}

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** The parts of a color in whatever form CSS gives it. */
function rgb(color) {
  const context = document.createElement("canvas").getContext("2d");
  context.fillStyle = color.trim();
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data;
}

/** Paints values as shades of a color into a part of an image. */
function paint(image, left, top, width, height, values, [red, green, blue]) {
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const at = ((top + y) * image.width + left + x) * 4;
      image.data.set([red, green, blue, values[y * width + x]], at);
    }
  }
}
