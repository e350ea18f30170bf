// What is shown over the picture: numbers, the clock, the log of `metric`.

const LOG_LINES = 200;
const READINGS = 60;
/** Topics whose numbers tell of something that happened each time, and those whose numbers are told when they change. */
const EVENTS = new Set(["ir"]);
const SETTINGS = new Set(["speed"]);
/** A gap between two pictures that a driver sees as a freeze. */
const FREEZE_MS = 250;

const two = (number) => String(number).padStart(2, "0");

/** Time of day to the millisecond: filmed by the car's camera, it shows the whole delay from glass to glass. */
const timeOfDay = (date) =>
  `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;

/** Counts pictures as they are shown, where the browser says so, and in any case knows when the last one was. */
export class FrameWatch {
  constructor(video) {
    this.video = video;
    this.lastAt = null;
    this.freezes = 0;
    this.canCount = "requestVideoFrameCallback" in video;
    if (this.canCount) this.countNext();
    else video.addEventListener("timeupdate", () => this.shown(performance.now()));
  }

  countNext() {
    this.video.requestVideoFrameCallback((now) => { this.shown(now); this.countNext(); });
  }

  shown(now) {
    if (this.canCount && this.lastAt !== null && !document.hidden && now - this.lastAt > FREEZE_MS) this.freezes += 1;
    this.lastAt = now;
    this.onframe?.();
  }

  /** For how long the picture has stood still, in milliseconds; null before the first. */
  stillFor() { return this.lastAt === null ? null : performance.now() - this.lastAt; }

  /** A new stream: the pause before it is no freeze. */
  restart() { this.lastAt = null; }
}

export class Stats {
  /** @param {import("./pictures.js").Pictures} pictures */
  constructor(panel, pictures) {
    this.panel = panel;
    this.pictures = pictures;
    this.cells = Object.fromEntries([...panel.querySelectorAll("dd")].map((cell) => [cell.id.replace("stat-", ""), cell]));
    this.clock = panel.querySelector("#clock");
    this.last = null;
    setInterval(() => this.refresh(), 1_000);
    const tick = () => { if (!panel.hidden) this.clock.textContent = timeOfDay(new Date()); requestAnimationFrame(tick); };
    tick();
  }

  /** The connection to report on. */
  watch(link) { this.link = link; }

  async refresh() {
    const peer = this.link?.peer;
    if (this.panel.hidden || !peer || peer.connectionState === "closed") { this.last = null; return; }
    const reports = [...(await peer.getStats()).values()];
    const videos = reports.filter((report) => report.type === "inbound-rtp" && report.kind === "video");
    const large = this.pictures.main.track?.id;
    const video = videos.find((report) => report.trackIdentifier === large) ?? videos[0];
    const pair = reports.find((report) => report.type === "candidate-pair" && report.nominated && report.state === "succeeded");
    if (video) this.show(video, pair);
  }

  show(video, pair) {
    const since = this.last?.id === video.id ? this.last : video;
    const seconds = (video.timestamp - since.timestamp) / 1_000;
    const rate = (key) => (seconds > 0 ? ((video[key] ?? 0) - (since[key] ?? 0)) / seconds : null);
    const text = (value, unit, digits = 0) => (value === null || value === undefined || Number.isNaN(value) ? "–" : `${value.toFixed(digits)} ${unit}`);
    const lost = Math.max(0, (video.packetsLost ?? 0) - (since.packetsLost ?? 0));
    const received = (video.packetsReceived ?? 0) - (since.packetsReceived ?? 0);
    const shown = (video.jitterBufferEmittedCount ?? 0) - (since.jitterBufferEmittedCount ?? 0);
    const buffered = (video.jitterBufferDelay ?? 0) - (since.jitterBufferDelay ?? 0);
    const set = (name, value) => { this.cells[name].textContent = value; };
    set("fps", text(video.framesPerSecond ?? rate("framesDecoded"), "fps"));
    set("bitrate", text(rate("bytesReceived") === null ? null : rate("bytesReceived") * 8 / 1_000, "kbit/s"));
    set("rtt", text(pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1_000, "ms", 1));
    set("loss", text(lost + received > 0 ? 100 * lost / (lost + received) : null, "%", 1));
    set("freezes", String(video.freezeCount ?? this.pictures.main.frames.freezes));
    set("buffer", text(shown > 0 ? 1_000 * buffered / shown : null, "ms"));
    set("size", video.frameWidth ? `${video.frameWidth} × ${video.frameHeight}` : "–");
    this.last = video;
  }
}

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** What the car says: readings, each with its newest value, and below them what has happened. */
export class Log {
  constructor(panel) {
    this.panel = panel;
    this.readings = panel.querySelector("tbody");
    this.lines = panel.querySelector("ol");
    this.rows = new Map();
    this.last = new Map();
    this.waiting = [];
  }

  /** One topic of a message. A number is a reading, but for those that tell of something; anything else is told when it changes. */
  add(topic, body) {
    const { key, value, ...rest } = body !== null && typeof body === "object" ? body : { value: body };
    const name = [topic, key].filter(Boolean).join(" ");
    if (typeof value === "number" && !EVENTS.has(topic) && !SETTINGS.has(topic)) {
      this.reading(name, value);
      return;
    }
    const text = [name, ...[value, ...Object.values(rest)].filter((part) => part !== undefined && part !== "").map(shown)].join(" ");
    if (!EVENTS.has(topic) && this.last.get(name) === text) return;
    this.last.set(name, text);
    this.waiting.push({ text, at: new Date() });
    // Many in one frame are laid out once.
    if (this.waiting.length === 1) requestAnimationFrame(() => this.flush());
    if (this.waiting.length > LOG_LINES) this.waiting.shift();
  }

  reading(name, value) {
    let row = this.rows.get(name);
    if (!row) {
      if (this.rows.size >= READINGS) return;
      row = this.readings.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name.replaceAll("_", " ");
      row.append(head);
      row.insertCell();
      this.rows.set(name, row);
    }
    row.cells[1].textContent = String(value);
  }

  flush() {
    const atEnd = this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 40;
    this.lines.append(...this.waiting.map(({ text, at }) => {
      const line = document.createElement("li");
      const time = document.createElement("time");
      time.textContent = timeOfDay(at);
      line.append(time, text);
      return line;
    }));
    this.waiting = [];
    while (this.lines.childElementCount > LOG_LINES) this.lines.firstElementChild.remove();
    if (atEnd) this.lines.scrollTop = this.lines.scrollHeight;
  }
}
