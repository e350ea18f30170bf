// What is sent to the car: the two axes at 20 Hz while driving, neutral at once, and the emergency stop.

/** Full travel on the wire, for both axes (the reference's THROTTLE_STEP and STEERING_STEP). */
export const STEPS = 20;
const PERIOD_MS = 50;
/** Neutral is said this often, in case the way to the car loses messages. */
const NEUTRAL_REPEATS = 3;
/** The emergency stop is said this often until the car has confirmed it, over however many connections. */
const LATCH_REPEAT_MS = 250;
/** What the hub says in the name of a driver it has lost contact with takes as many of his numbers: throttle and steering. */
const NUMBERS_OF_THE_HUB = 2;
/** A link that holds back more than this gets no more motion: what waits there would be driven later. */
const BACKLOG_BYTES = 1_024;

/** Random, and new for each load of the page; `crypto.randomUUID` needs a secure context, this does not. */
const newSession = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(10)), (byte) => (byte % 36).toString(36)).join("");

const steps = (value) => Math.round(Math.min(1, Math.abs(value)) * STEPS);

export class Driver {
  /** @param {import("./link.js").Link} link */
  constructor(link) {
    this.link = link;
    this.session = newSession();
    this.seq = 0;
    this.throttle = 0;
    this.steering = 0;
    this.hasDriven = false;
    this.latched = false;
    /** Repeats the emergency stop while the car has not confirmed it. */
    this.latchTimer = null;
    this.neutralsLeft = 0;
    this.timer = null;
  }

  get isMoving() { return this.throttle !== 0 || this.steering !== 0; }

  /** Where the sticks are, each from -1 (back, right) to 1 (forward, left). */
  set(throttle, steering) {
    if (this.latched) throttle = steering = 0;
    if (throttle === this.throttle && steering === this.steering) return;
    const wasMoving = this.isMoving;
    const letsGo = (this.throttle !== 0 && throttle === 0) || (this.steering !== 0 && steering === 0);
    this.throttle = throttle;
    this.steering = steering;
    this.hasDriven ||= this.isMoving;
    if (!this.isMoving) this.neutral();
    else if (!wasMoving || letsGo) this.restart();
  }

  /** Stops the car now, whatever the sticks say, until they are moved again. */
  neutral() {
    this.throttle = this.steering = 0;
    this.neutralsLeft = NEUTRAL_REPEATS;
    this.restart();
  }

  /** The emergency stop: the car stays where it is until someone clears it. */
  latch() {
    this.latched = true;
    this.confirmed();
    this.say("estop", "latch", 1);
    this.latchTimer = setInterval(() => {
      // One that waits in the link already is enough.
      if (this.link.backlog <= BACKLOG_BYTES) this.say("estop", "latch", 1);
    }, LATCH_REPEAT_MS);
    this.neutral();
  }

  /** Whether the emergency stop was pressed and the car has not said yet that it is latched. */
  get unconfirmed() { return this.latchTimer !== null; }

  confirmed() {
    clearInterval(this.latchTimer);
    this.latchTimer = null;
  }

  /** Whether the car's emergency stop is latched, by whomever. */
  carSays(latched) {
    if (latched) this.confirmed();
    // That it is not is older than a stop it has not confirmed.
    if (!this.unconfirmed) this.latched = latched;
    if (this.latched && this.isMoving) this.neutral();
  }

  clear() {
    this.latched = false;
    this.confirmed();
    // The hub may have lost contact without this end's noticing.
    this.seq += NUMBERS_OF_THE_HUB;
    this.say("estop", "clear", 1);
  }

  /** There is contact again. Whoever drove before tells the car that nothing is held any more. */
  resume() {
    this.seq += NUMBERS_OF_THE_HUB;
    if (this.hasDriven) this.neutral();
  }

  /** 0 is the front camera, 1 the rear one. */
  selectCamera(number) { this.say("camera", "select", number); }

  takeWheel() { this.say("wheel", "take", 1); }

  releaseWheel() {
    this.neutral();
    this.say("wheel", "release", 1);
  }

  restart() {
    clearInterval(this.timer);
    this.timer = setInterval(() => this.tick(), PERIOD_MS);
    this.tick();
  }

  tick() {
    if (!this.isMoving && this.neutralsLeft-- <= 0) {
      clearInterval(this.timer);
      this.timer = null;
      return;
    }
    // Neutral always goes out; it can do no harm late.
    if (this.isMoving && this.link.backlog > BACKLOG_BYTES) return;
    this.say("motion", this.throttle < 0 ? "back" : "forward", steps(this.throttle));
    this.say("motion", this.steering < 0 ? "right" : "left", steps(this.steering));
  }

  say(topic, key, value) {
    const message = { [topic]: { key, value }, seq: this.seq, session: this.session };
    if (this.link.send(JSON.stringify(message))) this.seq += 1;
  }
}
