// The image on its canvas: window, zoom, place, map, regions, marks. Coordinates of marks are pixels of the image.
import { automatic, fetchImage, fetchMap, paint } from "./image.js";

const MARK = "#ffd54a", REGION = "#00e5ff";

export class Viewer {
  constructor(canvas, readout) {
    this.canvas = canvas;
    this.readout = readout;
    this.context = canvas.getContext("2d");
    this.painted = document.createElement("canvas");
    this.marks = [];
    this.regions = [];
    this.regionSize = 0;
    this.opacity = 0.7;
    this.showsMap = true;
    this.inverted = false;
    new ResizeObserver(() => this.resized()).observe(canvas);
  }

  /** Shows a case; what was set (inversion, map) stays, the window starts as the file says. */
  async load(id) {
    const [image, map] = await Promise.all([fetchImage(id), fetchMap(id)]);
    const alike = this.image && this.image.width === image.width && this.image.height === image.height;
    Object.assign(this, { image, map });
    Object.assign(this.painted, { width: image.width, height: image.height });
    this.target = new ImageData(image.width, image.height);
    this.setWindow(image.low, image.high);
    if (!alike) this.fit();
  }

  setWindow(low, high) {
    this.low = low;
    this.high = Math.max(high, low + this.image.step);
    this.stale = true;
    this.draw();
  }

  /** Moves level and width by shares of the whole range. */
  drag(level, width) {
    const range = this.image.high - this.image.low;
    const middle = (this.low + this.high) / 2 + level * range;
    const half = Math.max(this.high - this.low + width * range, this.image.step) / 2;
    this.setWindow(middle - half, middle + half);
  }

  automatic() {
    const { low, high } = automatic(this.image);
    this.setWindow(low, high);
  }

  invert() {
    this.inverted = !this.inverted;
    this.stale = true;
    this.draw();
  }

  fit() {
    if (!this.image) return;
    const { width, height } = this.canvas;
    this.zoom = Math.min(width / this.image.width, height / this.image.height) * 0.98;
    this.x = (width - this.image.width * this.zoom) / 2;
    this.y = (height - this.image.height * this.zoom) / 2;
    this.fitted = true;
    this.draw();
  }

  /** Zooms about a place of the canvas, by default its middle. */
  zoomBy(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    const zoom = Math.min(Math.max(this.zoom * factor, 0.02), 80);
    this.x = x - (x - this.x) * zoom / this.zoom;
    this.y = y - (y - this.y) * zoom / this.zoom;
    this.zoom = zoom;
    this.fitted = false;
    this.draw();
  }

  move(x, y) {
    this.x += x;
    this.y += y;
    this.fitted = false;
    this.draw();
  }

  /** A place on the canvas, in pixels of the image. */
  toImage(x, y) {
    return { x: (x - this.x) / this.zoom, y: (y - this.y) / this.zoom };
  }

  resized() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    if (this.fitted ?? true) this.fit();
    else this.draw();
  }

  /** Draws at the screen's next picture. */
  draw() {
    if (this.waiting || !this.image) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.drawNow();
    });
  }

  drawNow() {
    const { context, image, zoom } = this;
    if (this.stale) {
      paint(image, this, this.target);
      this.painted.getContext("2d").putImageData(this.target, 0, 0);
      this.stale = false;
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(zoom, 0, 0, zoom, this.x, this.y);
    context.imageSmoothingEnabled = zoom < 3;
    context.drawImage(this.painted, 0, 0);
    if (this.showsMap) this.drawMap();
    for (const mark of this.marks) this.drawMark(mark, MARK);
    const shown = [`W ${short(this.high - this.low)}`, `L ${short((this.high + this.low) / 2)}`, `${Math.round(zoom * 100)} %`];
    this.readout.textContent = `${shown.join(" · ")} · ${image.width} × ${image.height}, ${image.bits} bit${this.inverted ? ", inverted" : ""}`;
  }

  drawMap() {
    const { context, map } = this;
    if (!map) return;
    context.globalAlpha = this.opacity;
    context.imageSmoothingEnabled = true;
    context.drawImage(map.bitmap, map.left, map.top, map.width, map.height);
    context.globalAlpha = 1;
    if (!this.regionSize) return;
    const across = map.width / this.regionSize, down = map.height / this.regionSize;
    for (const { top, left, height, width } of this.regions) {
      this.drawMark({ x: map.left + left * across, y: map.top + top * down, width: width * across, height: height * down }, REGION);
    }
  }

  drawMark({ x, y, width, height }, colour) {
    const { context } = this;
    const line = 2 * (window.devicePixelRatio || 1) / this.zoom;
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.beginPath();
    if (width || height) context.rect(x, y, width, height);
    else context.arc(x, y, 6 * line, 0, 2 * Math.PI);
    context.stroke();
  }
}

function short(value) {
  return Math.abs(value) >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}
