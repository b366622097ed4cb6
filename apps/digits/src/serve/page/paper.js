// The paper: strokes by mouse, finger, pen or keys, over an image or none, with undo.

/** The paper's own size; strokes are kept in these units whatever size it is shown in. */
export const WIDTH = 800;
export const HEIGHT = 640;

const PEN = 24;
const STEP = 10;
const FAST_STEP = 40;
/** After a pen has written, touches this soon are the hand that holds it. */
const PALM = 1500;
/** Drawings are sent at this share of the paper's size; it is ample for 28 x 28. */
const SENT_SCALE = 0.5;

/** A scene is what is on the paper: an image or none, and strokes, each a list of points. */
const EMPTY = { image: null, strokes: [] };

export class Paper {
  /**
   * `changed(finished)` is called when the scene changes; `finished` is false while a stroke grows.
   * `penSet(down)` is called when a key sets the pen down or lifts it; `deleted()` when a key asks for
   * clean paper.
   */
  constructor(canvas, { changed, penMoved, penSet, deleted }) {
    this.canvas = canvas;
    this.changed = changed;
    this.penMoved = penMoved;
    this.penSet = penSet;
    this.deleted = deleted;
    this.context = canvas.getContext("2d");
    this.history = [EMPTY];
    this.stroke = null;
    this.pointer = null;
    this.penUsed = -Infinity;
    this.cursor = { x: WIDTH / 2, y: HEIGHT / 2 };
    this.usesKeys = false;
    this.#listen();
    new ResizeObserver(() => this.redraw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  get scene() {
    const scene = this.history.at(-1);
    if (!this.stroke) return scene;
    return { ...scene, strokes: [...scene.strokes, this.stroke] };
  }

  get isEmpty() {
    return !this.scene.image && this.scene.strokes.length === 0;
  }

  get canUndo() {
    return this.history.length > 1 || this.stroke !== null;
  }

  undo() {
    this.#endStroke();
    if (!this.canUndo) return;
    this.history.pop();
    this.#show();
  }

  clear() {
    this.#endStroke();
    if (!this.isEmpty) this.#push(EMPTY);
  }

  /** Lays an image on clean paper. */
  put(image) {
    this.#endStroke();
    this.#push({ image, strokes: [] });
  }

  /** Where the image lies on the paper: whole, in the middle. */
  static place({ width, height }) {
    const scale = Math.min(WIDTH / width, HEIGHT / height);
    return { scale, x: (WIDTH - width * scale) / 2, y: (HEIGHT - height * scale) / 2 };
  }

  /** The scene as a picture to send, and how its pixels lie on the paper. */
  picture() {
    const { image, strokes } = this.scene;
    const place = image ? Paper.place(image) : { scale: 1 / SENT_SCALE, x: 0, y: 0 };
    const canvas = document.createElement("canvas");
    canvas.width = image ? image.width : WIDTH * SENT_SCALE;
    canvas.height = image ? image.height : HEIGHT * SENT_SCALE;
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (image) context.drawImage(image.bitmap, 0, 0);
    context.setTransform(1 / place.scale, 0, 0, 1 / place.scale, -place.x / place.scale, -place.y / place.scale);
    for (const stroke of strokes) drawStroke(context, stroke, "#000");
    const kind = image ? "image/jpeg" : "image/png";
    const blob = new Promise((resolve) => canvas.toBlob(resolve, kind, 0.92));
    return { blob, place };
  }

  redraw() {
    const { canvas, context } = this;
    const ratio = devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    context.setTransform(width / WIDTH, 0, 0, height / HEIGHT, 0, 0);
    context.clearRect(0, 0, WIDTH, HEIGHT);
    const { image, strokes } = this.scene;
    if (image) {
      const { scale, x, y } = Paper.place(image);
      context.drawImage(image.bitmap, x, y, image.width * scale, image.height * scale);
    }
    for (const stroke of strokes) drawStroke(context, stroke, this.#ink());
  }

  /** The color of ink: on an image it is black, as in what is sent. */
  #ink() {
    return this.scene.image ? "#000" : getComputedStyle(this.canvas).color;
  }

  #push(scene) {
    this.history.push(scene);
    this.#show();
  }

  #show() {
    this.redraw();
    this.changed(true);
  }

  #begin(point) {
    this.stroke = [point];
    drawStroke(this.context, this.stroke, this.#ink());
    this.changed(false);
  }

  #extend(points) {
    for (const point of points) {
      const last = this.stroke.at(-1);
      if (Math.hypot(point.x - last.x, point.y - last.y) < 0.5) continue;
      this.stroke.push(point);
      drawStroke(this.context, this.stroke.slice(-3), this.#ink());
    }
    this.changed(false);
  }

  #endStroke() {
    this.pointer = null;
    if (!this.stroke) return;
    const { image, strokes } = this.history.at(-1);
    const ended = { image, strokes: [...strokes, this.stroke] };
    this.stroke = null;
    this.#push(ended);
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    const pressed = event.pointerType === "pen" && event.pressure > 0;
    return {
      x: ((event.clientX - box.left) / box.width) * WIDTH,
      y: ((event.clientY - box.top) / box.height) * HEIGHT,
      width: pressed ? PEN * (0.6 + 0.8 * event.pressure) : PEN,
    };
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.pointer !== null) return;
      if (event.pointerType === "pen") this.penUsed = event.timeStamp;
      if (event.pointerType === "touch" && event.timeStamp - this.penUsed < PALM) return;
      event.preventDefault();
      canvas.focus({ preventScroll: true, focusVisible: false });
      this.#endStroke();
      this.#useKeys(false);
      this.pointer = event.pointerId;
      canvas.setPointerCapture(event.pointerId);
      this.#begin(this.#point(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== this.pointer) return;
      if (event.pointerType === "pen") this.penUsed = event.timeStamp;
      const events = event.getCoalescedEvents?.() ?? [];
      this.#extend((events.length ? events : [event]).map((event) => this.#point(event)));
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(end, (event) => {
        if (event.pointerId === this.pointer) this.#endStroke();
      });
    }
    // A long press would open a menu on some devices, in the middle of a stroke.
    canvas.addEventListener("contextmenu", (event) => {
      if (this.pointer !== null) event.preventDefault();
    });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => {
      if (this.pointer === null) this.#endStroke();
      this.#useKeys(false);
    });
    canvas.addEventListener("focus", () => this.#useKeys(canvas.matches(":focus-visible")));
  }

  #useKeys(used) {
    this.usesKeys = used;
    this.penMoved(used ? { ...this.cursor, down: this.stroke !== null } : null);
  }

  #key(event) {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const arrow = arrows[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || this.pointer !== null) return;
    if (arrow) {
      const step = event.shiftKey ? FAST_STEP : STEP;
      const within = (at, most) => Math.min(Math.max(at, 0), most);
      this.cursor.x = within(this.cursor.x + arrow[0] * step, WIDTH);
      this.cursor.y = within(this.cursor.y + arrow[1] * step, HEIGHT);
      if (this.stroke) this.#extend([{ ...this.cursor, width: PEN }]);
    } else if (event.key === " " || event.key === "Enter") {
      if (this.stroke) this.#endStroke();
      else this.#begin({ ...this.cursor, width: PEN });
      this.penSet(this.stroke !== null);
    } else if (event.key === "Escape" && this.stroke) {
      this.#endStroke();
      this.penSet(false);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.deleted();
    } else {
      return;
    }
    event.preventDefault();
    this.#useKeys(true);
  }
}

/** Draws points joined by curves through the middles between them, each as wide as its pen was. */
function drawStroke(context, points, color) {
  context.strokeStyle = context.fillStyle = color;
  context.lineCap = context.lineJoin = "round";
  if (points.length === 1) {
    context.beginPath();
    context.arc(points[0].x, points[0].y, points[0].width / 2, 0, 2 * Math.PI);
    context.fill();
    return;
  }
  const middle = (a, b) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  let from = points[0];
  for (let i = 1; i < points.length; i += 1) {
    const to = i + 1 < points.length ? middle(points[i], points[i + 1]) : points[i];
    context.beginPath();
    context.lineWidth = points[i].width;
    context.moveTo(from.x, from.y);
    context.quadraticCurveTo(points[i].x, points[i].y, to.x, to.y);
    context.stroke();
    from = to;
  }
}
