// Mouse, finger and wheel on the canvas.
const WHEEL = 1.15;

/** Hands for a viewer. `on` has wheelFrames(step), which tells whether there are frames, and marked(). */
export class Hands {
  constructor(viewer, on) {
    this.viewer = viewer;
    this.on = on;
    this.tool = "window";
    this.down = new Map();
    const { canvas } = viewer;
    canvas.addEventListener("pointerdown", (event) => this.pressed(event));
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.released(event));
    canvas.addEventListener("wheel", (event) => this.turned(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => viewer.fit());
  }

  place(event) {
    const box = this.viewer.canvas.getBoundingClientRect();
    const ratio = this.viewer.canvas.width / box.width;
    return { x: (event.clientX - box.left) * ratio, y: (event.clientY - box.top) * ratio };
  }

  pressed(event) {
    if (!this.viewer.image) return;
    this.viewer.canvas.setPointerCapture(event.pointerId);
    this.down.set(event.pointerId, this.place(event));
    this.doing = event.button !== 0 || event.shiftKey ? "pan" : this.tool;
    if (this.down.size > 1) {
      this.dropMark();
      return;
    }
    if (this.doing === "box" || this.doing === "point") {
      const { x, y } = this.viewer.toImage(...Object.values(this.place(event)));
      this.mark = { x, y, width: 0, height: 0 };
      this.corner = { x, y };
      this.viewer.marks.push(this.mark);
      this.viewer.draw();
    }
  }

  moved(event) {
    const before = this.down.get(event.pointerId);
    if (!before) return;
    const now = this.place(event);
    if (this.down.size > 1) this.pinched(event.pointerId, before, now);
    else if (this.mark) this.stretched(now);
    else if (this.doing === "pan") this.viewer.move(now.x - before.x, now.y - before.y);
    else if (this.doing === "window") this.windowed(before, now);
    this.down.set(event.pointerId, now);
  }

  windowed(before, now) {
    const side = Math.min(this.viewer.canvas.width, this.viewer.canvas.height);
    this.viewer.drag((before.y - now.y) / side, (now.x - before.x) / side);
  }

  stretched(now) {
    const { x, y } = this.viewer.toImage(now.x, now.y);
    if (this.doing === "point") Object.assign(this.mark, { x, y });
    else Object.assign(this.mark, {
      x: Math.min(x, this.corner.x), y: Math.min(y, this.corner.y),
      width: Math.abs(x - this.corner.x), height: Math.abs(y - this.corner.y),
    });
    this.viewer.draw();
  }

  pinched(id, before, now) {
    const other = [...this.down].find(([key]) => key !== id)[1];
    const apart = (one) => Math.hypot(one.x - other.x, one.y - other.y) || 1;
    this.viewer.zoomBy(apart(now) / apart(before), other.x, other.y);
    this.viewer.move((now.x - before.x) / 2, (now.y - before.y) / 2);
  }

  dropMark() {
    if (this.mark) this.viewer.marks.splice(this.viewer.marks.indexOf(this.mark), 1);
    this.mark = null;
    this.viewer.draw();
  }

  released(event) {
    this.down.delete(event.pointerId);
    if (this.mark && !this.down.size) {
      this.mark = null;
      this.on.marked();
    }
  }

  turned(event) {
    if (!this.viewer.image) return;
    event.preventDefault();
    if (!event.ctrlKey && this.on.wheelFrames(Math.sign(event.deltaY))) return;
    const { x, y } = this.place(event);
    this.viewer.zoomBy(event.deltaY < 0 ? WHEEL : 1 / WHEEL, x, y);
  }
}
