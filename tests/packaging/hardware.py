"""What the confined daemon makes of devices: the package installed in a Debian root, booted on the lab's own kernel, which
has a camera, an I2C bus with a PWM board and GPIO lines. Skipped where there is no lab."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from machine import HERE, LAYERS, MASKED, base, installed

LAB = HERE.parents[1] / "../shared/lab/uml/run"

# Process 1 until it becomes systemd. Outside is the whole of this machine's file system, by hostfs.
INIT = """#!/bin/bash
set -eu
mount -t proc proc /proc; mount -t sysfs sys /sys
modprobe -d {kernel} vivid n_devs=1 node_types=0x1
modprobe -d {kernel} i2c-stub chip_addr=0x40
modprobe -d {kernel} gpio-sim
mount -t configfs configfs /sys/kernel/config
mkdir -p /sys/kernel/config/gpio-sim/lab/bank
echo 32 >/sys/kernel/config/gpio-sim/lab/bank/num_lines
echo 1 >/sys/kernel/config/gpio-sim/lab/live
umount /sys/kernel/config
mount -t tmpfs work /tmp
mkdir /tmp/upper /tmp/work /tmp/root
mount -t overlay overlay -o lowerdir={layers},upperdir=/tmp/upper,workdir=/tmp/work /tmp/root
cp {claims} /tmp/root/root/claims
mkdir /tmp/root/results
mount -t hostfs none -o {results} /tmp/root/results
cat >/tmp/root/etc/systemd/system/claims.service <<'END'
[Unit]
After=multi-user.target systemd-udev-settle.service
Wants=systemd-udev-settle.service
[Service]
Type=oneshot
ExecStart=/bin/bash /root/claims
ExecStopPost=/bin/sh -c 'sync; echo o >/proc/sysrq-trigger'
StandardOutput=file:/results/output
StandardError=inherit
END
for unit in {masked}; do ln -s /dev/null "/tmp/root/etc/systemd/system/$unit"; done
mount -t proc proc /tmp/root/proc; mount -t sysfs sys /tmp/root/sys; mount -t devtmpfs dev /tmp/root/dev
cd /tmp/root
mkdir outside
pivot_root . outside
exec env -u TMPDIR /lib/systemd/systemd
"""


@unittest.skipUnless(LAB.exists(), "there is no lab beside this project")
class Hardware(unittest.TestCase):
    def test_the_confined_daemon_reaches_its_devices_and_a_kill_leaves_the_board_at_neutral(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory(dir=LAYERS)))
        kernel = Path(os.environ.get("UML_CACHE") or next(Path.home().glob(".cache/rtcpub-lab/uml-*")))
        (folder / "init").write_text(INIT.format(
            kernel=kernel, claims=HERE / "hardware-claims", results=folder, masked=" ".join(MASKED),
            layers=":".join(map(str, [*reversed(installed()), base()]))))
        (folder / "init").chmod(0o755)
        command = [kernel / "linux", "mem=1G", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "con=null",
                   "con0=null,fd:1", "quiet", "loglevel=1", f"init={folder}/init", "systemd.wants=claims.service"]
        console = subprocess.run(command, env={**os.environ, "TMPDIR": "/dev/shm"}, timeout=300, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace").stdout
        output = folder / "output"
        said = output.read_text() if output.exists() else "systemd never got to the claims"
        self.assertRegex(said, r"all claims hold\n\Z", f"{said}\n{console}")
