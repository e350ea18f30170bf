// The car's pictures: one fills the window, the others lie small beside it until they change places with it.

import { FrameWatch } from "./overlay.js";

/** A picture that stands still for longer is said to. */
export const STILL_MS = 1_000;

/** What a track's id says to people; many are numbers that say nothing. */
const wordsFor = (id, place) =>
  (/^[a-z][a-z0-9 _-]{0,19}$/i.test(id) ? `${id[0].toUpperCase()}${id.slice(1).replaceAll(/[_-]+/g, " ")}` : `Picture ${place + 1}`);

/** One picture. Large or small is its element's class alone, so that nothing is decoded anew when it changes. */
class Picture {
  constructor(element) {
    this.element = element;
    this.video = element.querySelector("video");
    this.button = element.querySelector("button");
    this.frames = new FrameWatch(this.video);
    this.name = "";
    this.track = null;
    /** Whether it has shown anything on this connection. */
    this.live = false;
  }

  get isStill() { return !this.live || this.frames.stillFor() > STILL_MS; }
}

/** Tells of `frame` for one that is not live yet, and of `change` when the words about them must change. */
export class Pictures extends EventTarget {
  /** The strip has the first picture in it; the others are made of the template. */
  constructor(strip, template) {
    super();
    this.strip = strip;
    this.template = template;
    this.all = [];
    this.tracks = [];
    /** Whether the browser wants a tap before it plays anything. */
    this.wantsTap = false;
    this.main = this.add(strip.firstElementChild);
  }

  add(element) {
    const picture = new Picture(element);
    picture.frames.onframe = () => { if (!picture.live) this.tell("frame", picture); };
    picture.button.addEventListener("click", () => this.enlarge(picture));
    this.all.push(picture);
    return picture;
  }

  /** As many pictures as the car has, by their tracks' ids. */
  hear(ids) {
    while (this.all.length < ids.length) {
      this.strip.append(this.template.content.cloneNode(true));
      this.add(this.strip.lastElementChild);
    }
    while (this.all.length > ids.length) this.all.pop().element.remove();
    this.all.forEach((picture, place) => {
      picture.name = wordsFor(ids[place], place);
      picture.button.querySelector(".name").textContent = picture.name;
      picture.button.setAttribute("aria-label", `${picture.name}: show large`);
      this.attach(picture, this.tracks[place]);
    });
    this.enlarge(this.all.includes(this.main) ? this.main : this.all[0]);
  }

  /** The track of the picture at this place. */
  receive(place, track) {
    this.tracks[place] = track;
    // Also after a pause: some browsers stop a picture whose track was mute.
    track.addEventListener("unmute", () => { if (this.all[place]) this.attach(this.all[place], track); });
    if (this.all[place]) this.attach(this.all[place], track);
  }

  /** The old picture stays until the new one has something to show. */
  attach(picture, track) {
    if (!track || track.muted || this.tracks[this.all.indexOf(picture)] !== track) return;
    if (picture.track !== track) {
      picture.track = track;
      picture.frames.restart();
      picture.video.srcObject = new MediaStream([track]);
    }
    this.play(picture);
  }

  /** A phone that saves power starts nothing by itself, not even a silent picture. */
  play(picture) {
    picture.video.play().then(() => { this.wantsTap = false; }, ({ name }) => {
      if (name !== "NotAllowedError" || this.wantsTap) return;
      this.wantsTap = true;
      const tapped = () => {
        this.wantsTap = false;
        this.all.forEach((picture) => this.play(picture));
      };
      addEventListener("pointerup", tapped, { once: true });
      this.tell("change");
    });
  }

  /** The connection is over: what is shown is the past. */
  forget() {
    this.tracks = [];
    this.all.forEach((picture) => { picture.live = false; });
  }

  /** Gives a picture the window. */
  enlarge(picture) {
    const before = this.main;
    const hadFocus = document.activeElement === picture.button;
    this.main = picture;
    for (const each of this.all) {
      const isMain = each === picture;
      each.element.classList.toggle("main", isMain);
      each.button.hidden = isMain;
    }
    const several = this.all.length > 1 ? `: ${picture.name}` : "";
    picture.video.setAttribute("aria-label", `Live picture from the car${several}`);
    if (hadFocus) before.button.focus();
    this.tell("change");
  }

  /** Gives the next picture the window. */
  next() {
    this.enlarge(this.all[(this.all.indexOf(this.main) + 1) % this.all.length]);
  }

  /** Says of the small ones which stand still. */
  render() {
    for (const { element, button, isStill } of this.all) {
      element.classList.toggle("still", isStill);
      button.querySelector(".still-text").hidden = !isStill;
    }
  }

  tell(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }
}
