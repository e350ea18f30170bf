// The page: chooses the car, joins the parts, and says in words how things are.

import { Controls } from "./controls.js";
import { Driver } from "./drive.js";
import { Link } from "./link.js";
import { Log, Stats } from "./overlay.js";
import { Pictures, STILL_MS } from "./pictures.js";

const CHANNELS_RETRY_MS = 2_000;

const $ = (id) => document.getElementById(id);
const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };

const pictures = new Pictures($("pictures"), $("further"));
const stats = new Stats($("stats"), pictures);
const log = new Log($("log"));

/** Everything the words on the page depend on. */
const now = {
  link: { name: "starting" },
  car: null,
  wheel: null,
  drive: null,
  cause: "",
  /** Why the car waits although it could drive. */
  waits: false,
  fault: "",
  /** Which of two cameras in one stream is shown, 1 being the rear one; unknown where there is one. */
  camera: null,
};

/** Why the car does not move, in words. */
const CAUSES = {
  start: "Just started",
  deadline: "No commands",
  driver_changed: "The driver has changed",
  reload: "New settings",
  channel_closed: "The control channel has closed",
  ice_lost: "The connection was lost",
  peer_disconnected: "The driver was disconnected",
  stalled: "The car's program was held up",
  actuator_fault: "The motor driver does not answer",
  estop: "",
  shutdown: "Shutting down",
  panic: "The car's program has failed",
};

/** Kept for this tab, where the browser lets a page keep anything. */
const memory = (store) => ({
  get(key) { try { return globalThis[store].getItem(key); } catch { return null; } },
  set(key, value) { try { globalThis[store].setItem(key, value); } catch { /* then not */ } },
});
const tab = memory("sessionStorage");
const home = memory("localStorage");

let link;
let driver;
let controls;
let power = 0.5;
/** Until the token that was asked for is there. */
let asking = null;

main();

async function main() {
  wireTools();
  const token = readToken();
  const channel = new URLSearchParams(location.search).get("channel") ?? await chooseChannel(token);
  document.title = `${channel} – rtcpub`;
  say($("channel"), channel);
  link = new Link({ channel, token: token.value });
  driver = new Driver(link);
  stats.watch(link);
  wireControls();
  wireLink(token);
  setInterval(render, 250);
  render();
  link.run();
}

// ---- the way in ----

/** The token comes in the address's fragment, which no server ever sees, and stays in the tab. */
function readToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    tab.set("token", token);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return { value: token ?? tab.get("token") ?? "" };
}

function askForToken(token) {
  asking ??= tokenFromDialog(token).finally(() => { asking = null; });
  return asking;
}

async function tokenFromDialog(token) {
  const dialog = $("token-dialog");
  $("token-input").value = "";
  $("token-refused").hidden = !token.value;
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  token.value = $("token-input").value;
  tab.set("token", token.value);
  if (link) link.token = token.value;
}

/** The live channels; null while the hub cannot be asked. */
async function liveChannels(token) {
  // A header takes bytes: those of the token's UTF-8.
  const bytes = Array.from(new TextEncoder().encode(token.value), (byte) => String.fromCharCode(byte)).join("");
  const headers = token.value ? { Authorization: `Bearer ${bytes}` } : {};
  try {
    const reply = await fetch("/channels", { headers, cache: "no-store" });
    if (reply.status === 401) {
      await askForToken(token);
      return liveChannels(token);
    }
    return reply.ok ? await reply.json() : null;
  } catch {
    return null;
  }
}

/** The only car there is, or the one that is picked. */
async function chooseChannel(token) {
  for (;;) {
    const channels = await liveChannels(token);
    if (channels?.length === 1) return remember(channels[0].id);
    if (channels?.length > 1) return remember(await pick(channels));
    showNotice(channels ? "No car is here yet" : "The hub does not answer",
      channels ? "The picture starts as soon as a car publishes to this hub." : "Trying again.");
    say($("link-text"), channels ? "Waiting for a car" : "Hub unreachable");
    await new Promise((resolve) => setTimeout(resolve, CHANNELS_RETRY_MS));
  }
}

function remember(channel) {
  history.replaceState(null, "", `?${new URLSearchParams({ channel })}`);
  return channel;
}

function pick(channels) {
  hideNotice();
  const dialog = $("channel-dialog");
  return new Promise((resolve) => {
    $("channel-list").replaceChildren(...channels.map(({ id, viewers }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = id;
      const detail = document.createElement("small");
      detail.textContent = viewers === 1 ? "1 viewer" : `${viewers} viewers`;
      button.append(detail);
      button.addEventListener("click", () => { dialog.close(); resolve(id); });
      const item = document.createElement("li");
      item.append(button);
      return item;
    }));
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.showModal();
  });
}

// ---- what the hub and the car say ----

function wireLink(token) {
  link.addEventListener("state", ({ detail }) => {
    now.link = detail;
    // A refused socket says nothing; the list of channels does.
    if (detail.name === "lost" && !asking) liveChannels(token);
    // What was held when contact was lost must be pressed anew.
    if (detail.name === "weak") controls.release();
    if (detail.name === "connected") driver.resume();
    render();
  });
  link.addEventListener("drivable", () => driver.resume());
  link.addEventListener("closed", () => {
    controls.release();
    pictures.forget();
    Object.assign(now, { wheel: null, drive: null, cause: "", waits: false, fault: "", camera: null });
    render();
  });
  link.addEventListener("track", ({ detail: { place, track } }) => pictures.receive(place, track));
  link.addEventListener("company", ({ detail }) => {
    now.car = detail.publisher ?? now.car;
    if (now.car === false) now.camera = null;
    // A car that is away comes back with the pictures it had, as far as anybody knows.
    if (detail.pictures?.length > 0) pictures.hear(detail.pictures.slice(0, link.pictures));
    say($("company"), detail.viewers > 1 ? `${detail.viewers} viewers` : "");
    render();
  });
  link.addEventListener("metric", ({ detail }) => metric(detail));
  // A last frame of the connection before is no picture of this one.
  pictures.addEventListener("frame", ({ detail: picture }) => {
    if (now.link.name !== "connected") return;
    picture.live = true;
    render();
  });
  pictures.addEventListener("change", render);
}

function metric(text) {
  let message;
  try { message = JSON.parse(text); } catch { message = {}; }
  for (const [topic, body] of Object.entries(message ?? {})) {
    if (topic === "wheel" && body?.key === "state") {
      now.wheel = body.value;
      if (now.wheel !== "held") driver.set(0, 0);
    }
    if (topic === "hub" && body?.key === "publisher") now.car = body.value === 1;
    if (topic === "drive") driveMetric(body ?? {});
    if (topic === "camera" && body?.key === "shown") now.camera = body.value;
    if (topic !== "hub" && topic !== "wheel") log.add(topic, body);
  }
  render();
}

function driveMetric({ key, value, cause }) {
  if (key === "state") {
    now.drive = String(value).toLowerCase();
    now.cause = String(cause ?? "");
    driver.carSays(now.drive === "latched" && now.cause === "estop");
  } else if (key === "awaits_neutral") {
    now.waits = value === 1;
  } else if (key === "fault") {
    now.fault = String(value ?? "");
  }
}

// ---- what the driver does ----

function wireControls() {
  controls = new Controls({ throttleStick: $("throttle-stick"), steeringStick: $("steering-stick") });
  controls.addEventListener("move", ({ detail: { throttle, steering } }) => {
    if (now.wheel === "taken") return;
    driver.set(throttle * power, steering);
  });
  const stop = () => { driver.latch(); render(); };
  controls.addEventListener("stop", stop);
  $("stop").addEventListener("click", stop);
  $("stop").disabled = false;
  const otherCamera = () => {
    if (!canSelectCamera()) return;
    takeFreeWheel();
    driver.selectCamera(now.camera === 1 ? 0 : 1);
  };
  controls.addEventListener("camera", otherCamera);
  $("other-camera").addEventListener("click", () => { otherCamera(); $("other-camera").blur(); });
  controls.addEventListener("picture", () => pictures.next());
  $("clear").addEventListener("click", () => { controls.release(); takeFreeWheel(); driver.clear(); render(); });
  $("wheel-button").addEventListener("click", () => {
    if (now.wheel === "held") driver.releaseWheel();
    else driver.takeWheel();
  });
  const range = $("power-range");
  range.value = home.get("power") ?? range.value;
  const setPower = () => {
    power = range.valueAsNumber / 100;
    say($("power-value"), `${range.value} %`);
    home.set("power", range.value);
    controls.changed();
  };
  range.addEventListener("input", setPower);
  // A driver's next key must drive, not move the slider.
  range.addEventListener("change", () => range.blur());
  setPower();
}

/** The hub passes on nothing but the emergency stop of who does not hold the wheel. */
function takeFreeWheel() {
  if (now.wheel === "free") driver.takeWheel();
}

/** Cars with one camera never tell which is shown. */
function canSelectCamera() {
  return now.camera !== null && now.wheel !== "taken" && Boolean(link?.canSend);
}

function wireTools() {
  const open = (name, isOpen) => {
    $(name).hidden = !isOpen;
    $(`toggle-${name}`).setAttribute("aria-pressed", String(isOpen));
  };
  for (const [name, other] of [["stats", "log"], ["log", "stats"]]) {
    const button = $(`toggle-${name}`);
    button.addEventListener("click", () => {
      open(name, $(name).hidden);
      // A phone has room for one of them.
      if (matchMedia("(max-width: 760px)").matches) open(other, false);
      button.blur();
    });
  }
  const full = $("toggle-full");
  full.hidden = !document.fullscreenEnabled;
  full.addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen().catch(() => {});
    full.blur();
  });
  document.addEventListener("fullscreenchange", () => full.setAttribute("aria-pressed", String(Boolean(document.fullscreenElement))));
  const touch = () => document.body.classList.add("touch");
  if (matchMedia("(pointer: coarse)").matches) touch();
  addEventListener("touchstart", touch, { once: true, passive: true });
  // Safari zooms by gesture events of its own.
  addEventListener("gesturestart", (event) => event.preventDefault());
  addEventListener("pointerdown", keepAwake, { passive: true });
  addEventListener("keydown", keepAwake, { passive: true });
}

let lock = null;

/** A phone must not go dark while it drives. Only where the page is a secure context. */
async function keepAwake() {
  if (lock || !navigator.wakeLock) return;
  try {
    lock = await navigator.wakeLock.request("screen");
    lock.addEventListener("release", () => { lock = null; });
  } catch {
    lock = null;
  }
}

// ---- words ----

function render() {
  renderLink();
  renderWheel();
  renderDrive();
  pictures.render();
  const canDrive = now.wheel !== "taken" && Boolean(link?.canSend);
  for (const id of ["throttle-stick", "steering-stick", "power", "keys"]) $(id).hidden = !canDrive;
  $("key-picture").hidden = pictures.all.length < 2;
  $("key-camera").hidden = $("other-camera").hidden = !canSelectCamera();
  say($("other-camera-name"), now.camera === 1 ? "Front" : "Rear");
}

function renderLink() {
  const [tone, text, title, detail] = linkWords();
  $("link").dataset.tone = tone;
  say($("link-text"), text);
  if (title) showNotice(title, detail ?? "", tone);
  else hideNotice();
}

/** Tone and words for the corner; a title and a detail when there is no picture to look at. */
function linkWords() {
  const { live, frames } = pictures.main;
  const still = frames.stillFor();
  switch (now.link.name) {
    case "connecting": return ["wait", "Connecting to the hub", ...(live ? [] : ["Connecting to the hub", ""])];
    case "negotiating": return ["wait", "Setting up the picture", "Setting up the picture", ""];
    case "weak": return ["warn", "Connection is breaking up"];
    case "lost": {
      const seconds = Math.ceil((now.link.retryAt - performance.now()) / 1_000);
      const when = seconds > 0 ? `Trying again in ${seconds} s.` : "Trying again.";
      return ["bad", "Not connected", "Connection lost", `${sentence(now.link.reason)} ${when}`];
    }
    case "connected": break;
    default: return ["wait", "Starting"];
  }
  if (now.car === false) return ["warn", "Car is offline", "The car is offline", "The picture comes back by itself when the car does."];
  if (pictures.wantsTap) return ["warn", "Waiting for you", "Tap to start the picture", "This device starts no picture by itself."];
  if (!live) return ["wait", "Waiting for the picture", "Waiting for the picture", ""];
  if (still > STILL_MS) return ["bad", `Picture has stood still for ${Math.floor(still / 1_000)} s`];
  return ["good", "Live"];
}

function sentence(text = "") {
  return text ? `${text[0].toUpperCase()}${text.slice(1)}.` : "";
}

function renderWheel() {
  const words = {
    held: ["You drive", "Release", "Release the wheel"],
    free: ["The wheel is free", "Take it", "Take the wheel"],
    taken: ["Someone else drives", null],
  }[now.wheel] ?? ["", null];
  $("wheel").hidden = words[0] === "";
  $("wheel").dataset.state = now.wheel ?? "unknown";
  say($("wheel-text"), words[0]);
  $("wheel-button").hidden = words[1] === null;
  if (words[1]) {
    say($("wheel-button"), words[1]);
    $("wheel-button").setAttribute("aria-label", words[2]);
  }
}

function renderDrive() {
  const stopped = driver?.latched ?? false;
  const state = stopped ? "latched" : now.drive;
  const words = { latched: stopped ? "Emergency stop" : "Stopped", armed: "Driving", parked: "Parked", braking: "Braking" };
  $("drive").hidden = !state;
  $("drive").dataset.state = state ?? "unknown";
  say($("drive-state"), words[state] ?? state ?? "");
  say($("drive-cause"), state === "armed" ? "" : whyStill());
  $("clear").hidden = !stopped || now.wheel === "taken" || !link?.canSend;
}

function whyStill() {
  if (driver?.unconfirmed) return link.canSend ? "The car has not confirmed it yet" : "It is sent as soon as there is a connection";
  if (now.fault) return now.fault;
  if (now.waits) return "Let go of the controls once";
  return CAUSES[now.cause] ?? now.cause.replaceAll("_", " ");
}

function showNotice(title, detail, tone = "wait") {
  $("notice").hidden = false;
  $("notice").dataset.tone = tone;
  say($("notice-title"), title);
  say($("notice-detail"), detail);
  $("pictures").classList.add("dimmed");
}

function hideNotice() {
  $("notice").hidden = true;
  $("pictures").classList.remove("dimmed");
}
