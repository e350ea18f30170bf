#!/usr/bin/env python3
"""An example for rtcpub's bridge: bridge-client.py /run/rtcpub/CHANNEL.sock (its lines: src/drive/bridge/mod.rs)."""
import json, socket, sys, time

def move(throttle, steering):  # your motors here; 1 is full forward, full left
    print(f"move {throttle:+.2f} {steering:+.2f}", flush=True)

bridge = socket.socket(socket.AF_UNIX)
bridge.connect(sys.argv[1])
bridge.settimeout(0.05)
bridge.sendall(b'{"moves":true}\n{"metric":{"client":{"key":"started","value":1}}}\n')
rest, fresh_until, moving = b"", 0.0, False
try:
    while True:
        try:
            data = bridge.recv(4096)
            if not data:
                break  # the daemon is gone
            *lines, rest = (rest + data).split(b"\n")
        except socket.timeout:
            lines = []
        for line in map(json.loads, lines):
            if "output" not in line:
                print(line, flush=True)
            elif (fresh_until := line["output"]["at"] + 0.1) > time.monotonic():
                move(line["output"]["throttle"], line["output"]["steering"]); moving = True
        if moving and time.monotonic() > fresh_until:  # the daemon hangs, or its words came late
            move(0, 0); moving = False
finally:
    move(0, 0)
