// The connection to the hub: signalling over a WebSocket, picture and data channels over WebRTC. Reconnects for ever.

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 8_000;
const PING_MS = 30_000;
const SILENCE_MS = 90_000;
const ANSWER_MS = 10_000;
/** A connection that ICE calls disconnected gets this long to recover by itself. */
const DISCONNECTED_MS = 4_000;
/** The hub forwards no more. */
const MAX_PICTURES = 4;

const wait = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
});

/** Equal jitter: half of the delay is certain, half is chance, so that viewers do not return in step. */
const retryDelay = (failures) => {
  if (failures <= 1) return 0;
  const delay = Math.min(FIRST_RETRY_MS * 2 ** (failures - 2), LONGEST_RETRY_MS);
  return delay / 2 + Math.random() * delay / 2;
};

/** What carries the token: the one header a page can set on a WebSocket. An address would end up in logs. */
const subprotocols = (token) => {
  if (!token) return ["rtcpub"];
  const hex = Array.from(new TextEncoder().encode(token), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return ["rtcpub", `rtcpub.token.${hex}`];
};

export class Link extends EventTarget {
  /** @param {{channel: string, token: string}} options */
  constructor({ channel, token }) {
    super();
    this.channel = channel;
    this.token = token;
    this.peer = null;
    this.stream = null;
    /** How many pictures the car has, as last heard. */
    this.pictures = 1;
    this.retryNow = null;
    addEventListener("online", () => this.retryNow?.abort());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.retryNow?.abort(); });
  }

  /** Whether commands can be sent. */
  get canSend() { return this.stream?.readyState === "open"; }

  /** Bytes of commands that the link has not taken yet. */
  get backlog() { return this.stream?.bufferedAmount ?? 0; }

  /** Sends one command; false when there is no way to. */
  send(text) {
    if (!this.canSend) return false;
    try {
      this.stream.send(text);
      return true;
    } catch {
      return false;
    }
  }

  async run() {
    for (let failures = 0; ;) {
      const { lived, reason } = await this.session();
      failures = lived ? 1 : failures + 1;
      const delay = retryDelay(failures);
      this.tell("state", { name: "lost", reason, retryAt: performance.now() + delay });
      this.retryNow = new AbortController();
      await wait(delay, this.retryNow.signal);
    }
  }

  /** One connection from its first byte to its last. */
  session() {
    this.tell("state", { name: "connecting" });
    return new Promise((resolve) => {
      const session = new Session(this, (outcome) => {
        this.peer = this.stream = null;
        this.tell("closed");
        resolve(outcome);
      });
      session.open();
    });
  }

  tell(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }
}

class Session {
  constructor(link, done) {
    this.link = link;
    this.done = done;
    this.timers = new Set();
    this.early = [];
    this.asked = 0;
    this.unanswered = true;
    this.lived = false;
    this.over = false;
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const query = new URLSearchParams({ channel: this.link.channel, vcodec: "h264" });
    this.socket = new WebSocket(`${scheme}//${location.host}/live/ws/sub?${query}`, subprotocols(this.link.token));
    this.socket.onopen = () => this.offer().catch((error) => this.end(`no offer: ${error.message}`));
    this.socket.onmessage = (event) => { this.heard(); this.receive(event.data); };
    this.socket.onclose = (event) => this.end(event.reason || "the hub does not answer");
    this.every(PING_MS, () => this.signal("ping"));
    this.heard();
  }

  async offer() {
    this.link.tell("state", { name: "negotiating" });
    const peer = new RTCPeerConnection();
    this.peer = this.link.peer = peer;
    peer.ontrack = ({ track, transceiver }) => {
      const video = peer.getTransceivers().filter(({ receiver }) => receiver.track.kind === "video");
      this.link.tell("track", { track, place: video.indexOf(transceiver) });
    };
    peer.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) this.signal("candidate2", JSON.stringify(candidate));
    };
    peer.onconnectionstatechange = () => this.connectionChanged();
    const metric = ({ data }) => this.link.tell("metric", data);
    this.openChannel("metric").onmessage = metric;
    // A hub that has waited for our channels in vain opens its own.
    peer.ondatachannel = ({ channel }) => { if (channel.label === "metric") channel.onmessage = metric; };
    const stream = this.openChannel("stream");
    stream.onopen = () => { this.link.stream = stream; this.link.tell("drivable"); };
    await this.negotiate();
  }

  /** Offers to receive every picture there is. */
  async negotiate() {
    this.unanswered = true;
    for (; this.asked < this.link.pictures; this.asked += 1) {
      const { receiver } = this.peer.addTransceiver("video", { direction: "recvonly" });
      // Show each picture as soon as it is whole: what is late is of no use to a driver.
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      if ("playoutDelayHint" in receiver) receiver.playoutDelayHint = 0;
    }
    this.answerTimer = this.after(ANSWER_MS, () => this.end("the hub does not answer the offer"));
    await this.peer.setLocalDescription(await this.peer.createOffer());
    this.signal("offer", this.peer.localDescription.sdp);
  }

  /** Who is here; a car with more pictures than were asked for is asked for the rest. */
  company(company) {
    if (company.pictures?.length > 0) this.link.pictures = Math.min(company.pictures.length, MAX_PICTURES);
    this.askForMore();
    this.link.tell("company", company);
  }

  askForMore() {
    if (this.unanswered || this.asked >= this.link.pictures) return;
    this.negotiate().catch((error) => this.end(`no offer: ${error.message}`));
  }

  openChannel(label) {
    const channel = this.peer.createDataChannel(label);
    channel.onclose = () => this.end(`the ${label} channel has closed`);
    return channel;
  }

  receive(text) {
    if (typeof text !== "string") return;
    if (text.trim() === "close") { this.end("the hub has ended the session"); return; }
    let message;
    try { message = JSON.parse(text); } catch { return; }
    const { type, data } = message ?? {};
    if (type === "answer") this.answered(data).catch((error) => this.end(`unusable answer: ${error.message}`));
    else if (type === "candidate2") this.candidate(parsed(data));
    else if (type === "candidate") this.candidate({ candidate: data, sdpMLineIndex: 0 });
    else if (type === "joins") this.company(parsed(data) ?? {});
  }

  async answered(sdp) {
    clearTimeout(this.answerTimer);
    await this.peer.setRemoteDescription({ type: "answer", sdp });
    const early = this.early ?? [];
    this.early = null;
    early.forEach((init) => this.candidate(init));
    this.unanswered = false;
    this.askForMore();
  }

  candidate(init) {
    if (!init) return;
    if (this.early) this.early.push(init);
    // One that cannot be used is one fewer way; the others remain.
    else this.peer.addIceCandidate(init).catch(() => {});
  }

  connectionChanged() {
    const state = this.peer?.connectionState;
    clearTimeout(this.disconnectedTimer);
    if (state === "connected") {
      this.lived = true;
      this.link.tell("state", { name: "connected" });
    } else if (state === "disconnected") {
      this.link.tell("state", { name: "weak" });
      this.disconnectedTimer = this.after(DISCONNECTED_MS, () => this.end("the connection broke off"));
    } else if (state === "failed") {
      this.end(this.lived ? "the connection broke off" : "no way to the hub for the picture");
    }
  }

  signal(type, data) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type, data }));
  }

  heard() {
    clearTimeout(this.silenceTimer);
    this.silenceTimer = this.after(SILENCE_MS, () => this.end("the hub has gone silent"));
  }

  after(ms, act) { const id = setTimeout(act, ms); this.timers.add(id); return id; }
  every(ms, act) { this.timers.add(setInterval(act, ms)); }

  end(reason) {
    if (this.over) return;
    this.over = true;
    this.timers.forEach((id) => clearTimeout(id));
    this.socket.onclose = this.socket.onmessage = null;
    this.socket.close();
    if (this.peer) {
      this.peer.onconnectionstatechange = null;
      this.peer.close();
    }
    this.done({ lived: this.lived, reason });
  }
}

const parsed = (text) => {
  try { return JSON.parse(text); } catch { return null; }
};
