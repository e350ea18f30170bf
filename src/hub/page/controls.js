// The driver's hands: keyboard, touch sticks, gamepad. Whichever is pushed furthest counts, for each axis by itself.

const KEYS = {
  KeyW: ["throttle", 1], ArrowUp: ["throttle", 1],
  KeyS: ["throttle", -1], ArrowDown: ["throttle", -1],
  KeyA: ["steering", 1], ArrowLeft: ["steering", 1],
  KeyD: ["steering", -1], ArrowRight: ["steering", -1],
};
/** Keys that choose what is seen, and the events they make. */
const CHOICES = { KeyC: "camera", KeyV: "picture" };
/** After these no key that comes up may be reported: on macOS while Command is down, elsewhere while a menu bar is open. */
const SWALLOW = ["Meta", "Alt", "F10"];
const AXES = ["throttle", "steering"];
const DEAD_ZONE = 0.12;
/** Standard gamepad mapping (W3C Gamepad §11). */
const PAD = { left: 6, right: 7, stops: [0, 1, 9] };

const strongest = (values) => values.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
const withoutDeadZone = (value) =>
  Math.abs(value) < DEAD_ZONE ? 0 : Math.sign(value) * (Math.abs(value) - DEAD_ZONE) / (1 - DEAD_ZONE);
const isTyping = (target) => target instanceof HTMLElement && target.closest("dialog, input:not([type=range]), textarea") !== null;

export class Controls extends EventTarget {
  constructor({ throttleStick, steeringStick }) {
    super();
    this.keys = new Set();
    this.pad = { throttle: 0, steering: 0 };
    this.padStops = false;
    /** Axes of the gamepad that count for nothing until they have been let go of. */
    this.padIgnored = new Set(AXES);
    this.sticks = {
      throttle: new Stick(throttleStick, "y", () => this.changed()),
      steering: new Stick(steeringStick, "x", () => this.changed()),
    };
    addEventListener("keydown", (event) => this.keyDown(event));
    addEventListener("keyup", (event) => this.keyUp(event));
    // Keys that come up while the page is not looking are never reported: let go of everything.
    addEventListener("blur", () => this.release());
    addEventListener("contextmenu", (event) => { if (!event.defaultPrevented) this.release(); });
    addEventListener("pagehide", () => this.release());
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.release(); });
    addEventListener("gamepadconnected", () => this.pollPads());
    addEventListener("gamepaddisconnected", () => this.release());
  }

  /** Lets go of everything; what is still held must be pressed anew. */
  release() {
    this.keys.clear();
    this.pad = { throttle: 0, steering: 0 };
    AXES.forEach((axis) => this.padIgnored.add(axis));
    Object.values(this.sticks).forEach((stick) => stick.release());
    this.changed();
  }

  changed() {
    const axis = (name) => strongest([
      [...this.keys].reduce((sum, code) => sum + (KEYS[code][0] === name ? KEYS[code][1] : 0), 0),
      this.sticks[name].value,
      this.pad[name],
    ]);
    const held = [...this.keys].some((code) => KEYS[code][0] === "throttle");
    const detail = { throttle: axis("throttle"), steering: axis("steering"), keyboard: held };
    this.dispatchEvent(new CustomEvent("move", { detail }));
  }

  keyDown(event) {
    if (isTyping(event.target)) return;
    if (SWALLOW.includes(event.key)) this.release();
    if (event.code === "Space") {
      // Also on a focused button, and whatever else is held: stopping comes first, Enter presses buttons.
      event.preventDefault();
      if (!event.repeat) this.dispatchEvent(new CustomEvent("stop"));
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.code in CHOICES) {
      if (!event.repeat) this.dispatchEvent(new CustomEvent(CHOICES[event.code]));
      return;
    }
    if (!(event.code in KEYS) || event.target?.type === "range") return;
    event.preventDefault();
    if (event.repeat) return;
    this.keys.add(event.code);
    this.changed();
  }

  keyUp(event) {
    if (event.code === "Space" && !isTyping(event.target)) event.preventDefault();
    if (this.keys.delete(event.code)) this.changed();
  }

  pollPads() {
    if (this.polling) return;
    this.polling = true;
    const poll = () => {
      // Of another mapping nobody knows what is where: an axis that rests at its end would be full throttle.
      const pad = [...(navigator.getGamepads?.() ?? [])].find((pad) => pad?.connected && pad.mapping === "standard");
      if (!pad) { this.polling = false; return; }
      this.readPad(pad);
      requestAnimationFrame(poll);
    };
    poll();
  }

  readPad({ axes, buttons }) {
    const pulled = (index) => buttons[index]?.value ?? 0;
    const pad = {
      throttle: strongest([pulled(PAD.right) - pulled(PAD.left), -withoutDeadZone(axes[3] ?? 0)]),
      steering: -withoutDeadZone(axes[0] ?? 0),
    };
    for (const axis of this.padIgnored) {
      if (Math.abs(pad[axis]) < DEAD_ZONE) this.padIgnored.delete(axis);
      pad[axis] = 0;
    }
    const stops = PAD.stops.some((index) => buttons[index]?.pressed);
    if (stops && !this.padStops) this.dispatchEvent(new CustomEvent("stop"));
    this.padStops = stops;
    if (AXES.every((axis) => pad[axis] === this.pad[axis])) return;
    this.pad = pad;
    this.changed();
  }
}

/** One touch stick: a pad whose knob follows the finger along one direction and springs back. */
class Stick {
  constructor(element, direction, changed) {
    this.element = element;
    this.knob = element.querySelector(".knob");
    this.direction = direction;
    this.changed = changed;
    this.value = 0;
    this.pointer = null;
    element.addEventListener("pointerdown", (event) => this.grab(event));
    element.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      element.addEventListener(end, (event) => { if (event.pointerId === this.pointer) { this.release(); this.changed(); } });
    }
    // iOS Safari: no magnifier, no selection, no scrolling from here.
    element.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
    element.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  grab(event) {
    if (this.pointer !== null) return;
    event.preventDefault();
    this.pointer = event.pointerId;
    this.element.setPointerCapture(event.pointerId);
    this.element.classList.add("held");
    this.move(event);
  }

  move(event) {
    if (event.pointerId !== this.pointer) return;
    const box = this.element.getBoundingClientRect();
    const along = this.direction === "y"
      ? (box.top + box.height / 2 - event.clientY) / (box.height / 2 - box.width / 4)
      : (box.left + box.width / 2 - event.clientX) / (box.width / 2 - box.height / 4);
    this.show(Math.max(-1, Math.min(1, withoutDeadZone(along))));
    this.changed();
  }

  release() {
    this.pointer = null;
    this.element.classList.remove("held");
    this.show(0);
  }

  show(value) {
    this.value = value;
    this.knob.style.setProperty("--at", String(-value));
  }
}
