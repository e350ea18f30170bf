#!/usr/bin/python3
"""What GStreamer's own webrtcbin costs outside capture and encoder, told by thread as publish.rs tells it of rtcpub.

A yardstick for the machine: run it right after `cargo bench --bench publish -- cpu` and compare. Two processes of this
script, one that sends (x264enc in the thread of the test source) and one that receives, on this machine's addresses.
What crosses the loopback is told beside it, since CPU without the traffic it was spent on says nothing.

    apt-get install python3-gst-1.0 gir1.2-gst-plugins-bad-1.0 gstreamer1.0-nice \\
        gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
    /usr/bin/python3 benches/webrtcbin.py
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402 (the versions come first)

# The bit rates are below those of publish.rs: its test picture does not use up its own (519 and 1174 kbit/s, 96 and 171
# packets/s on the loopback), and snow uses up any.
CASES = [(640, 480, 460), (1280, 720, 1060)]
# As in publish.rs: seconds of a window, and how many the median is of.
WINDOW, WINDOWS = 10, 5
# Until both are connected.
SETTLE = 5
# The source's thread encodes too, and x264 gives its own threads that name.
CAPTURE_AND_ENCODER = "test:src"

SENDER = (
    "videotestsrc name=test is-live=true pattern=snow"
    " ! video/x-raw,format=I420,width={},height={},framerate=30/1"
    " ! x264enc tune=zerolatency speed-preset=superfast bframes=0 bitrate={} key-int-max=600 threads=2"
    " ! video/x-h264,profile=constrained-baseline,stream-format=byte-stream,alignment=au"
    " ! queue name=out max-size-buffers=2"
    " ! rtph264pay config-interval=-1 aggregate-mode=zero-latency mtu=1200 pt=96"
    " ! application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000"
    " ! webrtcbin name=peer bundle-policy=max-bundle"
)
LOOPBACK = "/sys/class/net/lo/statistics"


def say(**message):
    print(json.dumps(message), flush=True)


class Peer:
    """One end: descriptions and candidates go by lines of JSON over standard input and output."""

    def __init__(self, pipeline):
        self.pipeline = pipeline
        self.bin = pipeline.get_by_name("peer")
        self.bin.connect("on-ice-candidate", lambda _, line, candidate: say(line=line, candidate=candidate))
        self.bin.connect("pad-added", self.picture)
        threading.Thread(target=self.hear, daemon=True).start()

    def describe(self, kind):
        """Makes an offer or an answer, applies it and says it."""

        def made(promise, _):
            reply = promise.get_reply()  # owns what is taken out of it
            description = reply.get_value(kind)
            text = description.sdp.as_text()  # before it is given away
            self.bin.emit("set-local-description", description, Gst.Promise.new())
            say(kind=kind, sdp=text)

        self.bin.emit(f"create-{kind}", None, Gst.Promise.new_with_change_func(made, None))
        return GLib.SOURCE_REMOVE

    def hear(self):
        kinds = {"offer": GstWebRTC.WebRTCSDPType.OFFER, "answer": GstWebRTC.WebRTCSDPType.ANSWER}
        kept = []  # the description refers to what Python would free
        for line in sys.stdin:
            message = json.loads(line)
            if "candidate" in message:
                self.bin.emit("add-ice-candidate", message["line"], message["candidate"])
                continue
            kind = message["kind"]
            _, sdp = GstSdp.SDPMessage.new_from_text(message["sdp"])
            kept.append(sdp)
            description = GstWebRTC.WebRTCSessionDescription.new(kinds[kind], sdp)
            self.bin.emit("set-remote-description", description, Gst.Promise.new())
            if kind == "offer":
                self.describe("answer")

    def picture(self, _, pad):
        if pad.direction == Gst.PadDirection.SRC:
            sink = Gst.ElementFactory.make("fakesink")
            sink.set_property("sync", False)
            self.pipeline.add(sink)
            sink.sync_state_with_parent()
            pad.link(sink.get_static_pad("sink"))


def send(width, height, kbps):
    pipeline = Gst.parse_launch(SENDER.format(width, height, kbps))
    peer = Peer(pipeline)
    pipeline.set_state(Gst.State.READY)
    for label in ("metric", "stream"):
        peer.bin.emit("create-data-channel", label, None)
    pipeline.set_state(Gst.State.PLAYING)
    # By then the caps that the offer is made of are there.
    GLib.timeout_add(1500, peer.describe, "offer")


def receive():
    pipeline = Gst.Pipeline()
    peer = Gst.ElementFactory.make("webrtcbin", "peer")
    peer.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
    pipeline.add(peer)
    Peer(pipeline)
    pipeline.set_state(Gst.State.PLAYING)


def cpu_seconds(pid):
    """Of the threads that neither capture nor encode, and of those that do."""
    outside = encoding = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/comm") as comm, open(f"/proc/{pid}/task/{task}/schedstat") as stat:
                name, cpu = comm.read().strip(), int(stat.read().split()[0]) / 1e9
        except OSError:
            continue  # it has just ended
        if name.startswith(CAPTURE_AND_ENCODER):
            encoding += cpu
        else:
            outside += cpu
    return outside, encoding


def loopback():
    """Bits and packets sent on it since the machine started."""
    with open(f"{LOOPBACK}/tx_bytes") as octets, open(f"{LOOPBACK}/tx_packets") as packets:
        return 8 * int(octets.read()), int(packets.read())


def carry(source, sink):
    for line in source.stdout:
        sink.stdin.write(line)
        sink.stdin.flush()


def watch(pid):
    """CPU-s/s of one window outside capture and encoder."""
    outside, encoding = cpu_seconds(pid)
    time.sleep(WINDOW)
    outside_after, encoding_after = cpu_seconds(pid)
    if encoding_after - encoding < 0.01 * WINDOW:
        sys.exit("nothing was encoded: the two did not connect")
    return (outside_after - outside) / WINDOW


def measure(case):
    """CPU-s/s outside capture and encoder, kbit/s and packets/s on the loopback."""

    def start(*role):
        arguments = [sys.executable, __file__, *map(str, role)]
        return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    sender, receiver = start("send", *case), start("receive")
    try:
        for ends in ((sender, receiver), (receiver, sender)):
            threading.Thread(target=carry, args=ends, daemon=True).start()
        time.sleep(SETTLE)
        bits, packets = loopback()
        windows = [watch(sender.pid) for _ in range(WINDOWS)]
        bits_after, packets_after = loopback()
        time_taken = WINDOW * WINDOWS
        return statistics.median(windows), (bits_after - bits) / time_taken / 1000, (packets_after - packets) / time_taken
    finally:
        for process in (sender, receiver):
            process.kill()
            process.wait()


def main():
    Gst.init(None)
    role, arguments = (sys.argv + [""])[1], sys.argv[2:]
    if role == "":
        for width, height, kbps in CASES:
            cpu, rate, packets = measure((width, height, kbps))
            print(f"webrtcbin {width}x{height}@30: {cpu:.4f} CPU-s/s outside capture and encoder, median of {WINDOWS};"
                  f" loopback {rate:.0f} kbit/s, {packets:.0f} packets/s")
        return
    if role == "send":
        send(*arguments)
    else:
        receive()
    GLib.MainLoop().run()


main()
