"""What systemd makes of rtcpub@.service: the real package, in a fresh Debian root, under a real systemd."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

from machine import HERE, Machine, installed, wait_for

CHANNEL = "c40hipepjh65aeq6ndj0"
OTHER = "c40hipepjh65aeq6ndk0"
# No hub listens there: that signalling has been tried is enough.
CONFIG = '[server]\nurl = "wss://127.0.0.1:8267"\n[bridge]\n'
# The first picture comes after three seconds, later than the pipeline's patience.
LATE_CAMERA = CONFIG + '[camera]\nkind = "pipeline"\npipeline = "videotestsrc is-live=true ! identity sleep-time=3000000"\n'
BROKEN = CONFIG + "[camera]\nwidth = 7\n"

# Vital loops by the names of their threads.
CONTROL = ["drive"]
SESSION = ["rtcpub-io"]
FRAMES = ["encode:src"]


def unit(channel):
    return f"rtcpub@{channel}.service"


class Service(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = cls.enterClassContext(Machine(installed()))
        cls.machine.boot()

    def setUp(self):
        for channel in (CHANNEL, OTHER):
            self.configure(channel, CONFIG)
        # What nothing refers to, systemd forgets as soon as it has ended, with all its properties.
        self.systemctl("start", "rtcpub.target")
        self.systemctl("enable", unit(CHANNEL))
        self.addCleanup(self.leave)

    def leave(self):
        self.systemctl("stop", "rtcpub@*.service")
        self.systemctl("disable", unit(CHANNEL))
        self.systemctl("reset-failed")
        self.machine.run("rm", "-rf", f"/etc/systemd/system/{unit(CHANNEL)}.d", "/etc/credstore")
        self.systemctl("daemon-reload")

    # Helpers

    def configure(self, channel, text):
        self.machine.path_now(f"/etc/rtcpub/{channel}.toml").write_text(text)

    def drop_in(self, text):
        folder = self.machine.path_now(f"/etc/systemd/system/{unit(CHANNEL)}.d")
        folder.mkdir()
        (folder / "test.conf").write_text(text)
        self.systemctl("daemon-reload")

    def systemctl(self, *arguments, **options):
        return self.machine.run("systemctl", *arguments, **options)

    def show(self, *names):
        return self.machine.show(unit(CHANNEL), *names)

    def main_process(self):
        """The daemon's process id as this machine (outside) sees it."""
        inside = self.show("MainPID")
        self.assertNotEqual(inside, "0")
        namespace = os.readlink(f"/proc/{self.machine.init}/ns/pid")

        def is_it(status):
            process = status.parent
            with contextlib.suppress(OSError):
                line = next(line for line in status.read_text().splitlines() if line.startswith("NSpid:"))
                return line.split()[-1] == inside and os.readlink(process / "ns/pid") == namespace
            return False

        return int(next(filter(is_it, Path("/proc").glob("[0-9]*/status"))).parent.name)

    def wait_for_restart(self, before, timeout):
        """Waits until systemd has started the daemon anew and it is ready."""
        def restarted():
            now = self.show("NRestarts", "ActiveState")
            return (int(now["NRestarts"]) > before and now["ActiveState"] == "active") or None
        wait_for("a restart", restarted, timeout)

    def assert_parked(self):
        """ExecStopPost= ran to its end, and well."""
        self.assertRegex(self.show("ExecStopPost"), r"rtcpub park c40hipepjh65aeq6ndj0 .* code=exited ; status=0")

    def start_to_see_it_end(self):
        """Starts the channel. How it ended, systemd forgets at the restart: later than by the unit, so that it is not missed."""
        self.drop_in("[Service]\nRestartSec=10\n")
        self.systemctl("start", unit(CHANNEL))

    # Claims

    def test_a_channel_starts_and_runs_as_its_own_user_without_any_capability(self):
        self.systemctl("start", unit(CHANNEL))
        self.assertEqual(self.show("ActiveState"), "active")
        self.assertNotEqual(self.show("StatusText"), "")
        status = dict(line.split(":", 1) for line in Path(f"/proc/{self.main_process()}/status").read_text().splitlines())
        user = self.machine.run("id", "-u", "rtcpub").stdout.strip()
        self.assertEqual(status["Uid"].split(), [user] * 4)
        for name, wanted in {"CapEff": "0" * 16, "CapPrm": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}.items():
            self.assertEqual(status[name].strip(), wanted, name)

    def test_the_encoder_gives_way_to_commands_and_packets(self):
        self.systemctl("start", unit(CHANNEL))
        nice = {}
        for task in Path(f"/proc/{self.main_process()}/task").iterdir():
            name, fields = (task / "stat").read_text().split("(", 1)[1].rsplit(") ", 1)
            nice[name] = int(fields.split()[16])
        self.assertEqual((nice[SESSION[0]], nice[CONTROL[0]]), (0, 0))
        self.assertGreater(nice[FRAMES[0]], 0)

    def test_it_is_active_when_it_says_so_and_not_before(self):
        self.drop_in("[Service]\nExecStart=\nExecStart=/bin/sh -c 'kill -STOP $$$$; exec rtcpub run %i'\n")
        self.systemctl("start", "--no-block", unit(CHANNEL))
        wait_for("the process to stand still", lambda: self.show("MainPID") != "0" and self.state() == "T" or None, 10)
        self.assertEqual(self.show("ActiveState"), "activating")
        os.kill(self.main_process(), signal.SIGCONT)
        self.machine.wait_for_state(unit(CHANNEL), "active")

    def state(self):
        """One letter of proc(5)."""
        return Path(f"/proc/{self.main_process()}/stat").read_text().rsplit(")", 1)[1].split()[0]

    def test_it_is_ready_no_sooner_than_the_first_picture_or_the_knowledge_that_there_is_none(self):
        self.configure(CHANNEL, LATE_CAMERA)
        self.systemctl("start", unit(CHANNEL))
        times = self.show("ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        took = int(times["ActiveEnterTimestampMonotonic"]) - int(times["ExecMainStartTimestampMonotonic"])
        self.assertGreater(took, 1_500_000, "microseconds")

    def test_stop_ends_it_within_two_seconds_and_parks(self):
        self.systemctl("start", unit(CHANNEL))
        self.systemctl("stop", unit(CHANNEL))
        now = self.show("Result", "ExecMainStatus", "InactiveEnterTimestampMonotonic", "ActiveExitTimestampMonotonic")
        self.assertEqual((now["Result"], now["ExecMainStatus"]), ("success", "0"))
        took = int(now["InactiveEnterTimestampMonotonic"]) - int(now["ActiveExitTimestampMonotonic"])
        self.assertLess(took, 2_500_000, "microseconds, park included")
        self.assert_parked()

    def test_after_a_kill_it_is_parked_and_comes_back(self):
        self.start_to_see_it_end()
        os.kill(self.main_process(), signal.SIGKILL)
        wait_for("the restart to be due", lambda: self.show("SubState") == "auto-restart" or None, 10)
        self.assert_parked()
        self.wait_for_restart(0, 30)

    def test_a_process_that_stands_still_is_killed_parked_and_comes_back(self):
        self.start_to_see_it_end()
        os.kill(self.main_process(), signal.SIGSTOP)
        self.assert_it_comes_back("watchdog", within=10)

    def test_a_hang_of_the_control_loop_alone_ends_the_same_way(self):
        self.assert_hang_is_found(CONTROL)

    def test_a_hang_of_the_session_loop_alone_ends_the_same_way(self):
        self.assert_hang_is_found(SESSION)

    def test_a_hang_of_the_pipeline_that_no_new_pipeline_mends_ends_the_process_and_it_comes_back(self):
        # All encoders of openh264 in a process share its threads, which are among these.
        self.freeze(FRAMES)
        self.assert_it_comes_back("exit-code", within=30)
        self.assertRegex(self.machine.journal(unit(CHANNEL)), "did not stop within .*: a driver hangs")

    def assert_hang_is_found(self, threads):
        self.freeze(threads)
        self.assert_it_comes_back("watchdog", within=20)

    def freeze(self, threads):
        """Starts the channel, and stops these threads of it for good."""
        self.start_to_see_it_end()
        command = [sys.executable, HERE / "freeze.py", str(self.main_process()), *threads]
        freezer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.addCleanup(freezer.stdout.close)
        self.addCleanup(freezer.wait)
        self.addCleanup(freezer.kill)
        self.assertEqual(freezer.stdout.readline(), "frozen\n")

    def assert_it_comes_back(self, after, within):
        """Ends with this result, parks, starts again."""
        wait_for(f"its end by {after}", lambda: self.show("Result") == after or None, within)
        wait_for("the restart to be due", lambda: self.show("SubState") == "auto-restart" or None, 10)
        self.assert_parked()
        self.wait_for_restart(0, 30)

    def test_one_that_is_well_is_left_alone(self):
        self.systemctl("start", unit(CHANNEL))
        time.sleep(5)  # Two timeouts of the watchdog, and then some.
        self.assertEqual(self.show("ActiveState", "NRestarts"), {"ActiveState": "active", "NRestarts": "0"})
        self.assertNotIn("no sign of life", self.journal_since_start())

    def journal_since_start(self):
        invocation = self.show("InvocationID")
        return self.machine.run("journalctl", "--no-pager", "-o", "cat", f"_SYSTEMD_INVOCATION_ID={invocation}").stdout

    def test_a_wrong_configuration_is_not_tried_again(self):
        self.configure(CHANNEL, BROKEN)
        self.assertNotEqual(self.systemctl("start", unit(CHANNEL), check=False).returncode, 0)
        now = self.show("ActiveState", "SubState", "ExecMainStatus", "NRestarts")
        self.assertEqual(now, {"ActiveState": "failed", "SubState": "failed", "ExecMainStatus": "78", "NRestarts": "0"})

    def test_a_reload_keeps_the_process(self):
        self.systemctl("start", unit(CHANNEL))
        before = self.show("MainPID")
        self.systemctl("reload", unit(CHANNEL))
        self.machine.wait_for_state(unit(CHANNEL), "active/running")
        self.assertEqual(self.show("MainPID"), before)

    def test_the_target_starts_the_enabled_channels_and_stops_all_that_run(self):
        self.systemctl("stop", "rtcpub.target")
        self.systemctl("start", "rtcpub.target")
        self.machine.wait_for_state(unit(CHANNEL), "active")
        self.assertEqual(self.machine.show(unit(OTHER), "ActiveState"), "inactive")
        self.systemctl("start", unit(OTHER))
        self.systemctl("stop", "rtcpub.target")
        for channel in (CHANNEL, OTHER):
            self.machine.wait_for_state(unit(channel), "inactive")

    def test_stopping_the_target_stops_a_channel_that_was_started_without_it(self):
        self.systemctl("stop", "rtcpub.target")
        self.systemctl("start", unit(OTHER))
        self.systemctl("stop", "rtcpub.target")
        self.machine.wait_for_state(unit(OTHER), "inactive")

    def test_a_channel_that_stops_leaves_the_sockets_of_the_others(self):
        self.systemctl("start", unit(CHANNEL), unit(OTHER))
        sockets = self.machine.path_now("/run/rtcpub")
        before = {socket.name for socket in sockets.iterdir() if OTHER in socket.name}
        self.assertTrue(before)
        self.systemctl("stop", unit(CHANNEL))
        self.assertEqual({socket.name for socket in sockets.iterdir()}, before)

    def test_a_secret_in_the_credential_store_reaches_the_daemon_and_nobody_else(self):
        secret = f"/etc/credstore/rtcpub.{CHANNEL}.server.token"
        self.machine.run("install", "-D", "-m", "600", "/dev/null", secret)
        self.machine.path_now(secret).write_text("hunter2\n")
        self.systemctl("start", unit(CHANNEL))
        loaded = f"/run/credentials/{unit(CHANNEL)}/server.token"
        read = ["setpriv", "--reuid=rtcpub", "--regid=rtcpub", "--clear-groups", "cat", loaded]
        self.assertEqual(self.machine.run(*read).stdout, "hunter2\n")
        read[1] = "--reuid=nobody"
        self.assertNotEqual(self.machine.run(*read, check=False).returncode, 0)

    def test_the_unit_is_correct_and_well_confined_on_this_systemd(self):
        self.machine.run("systemd-analyze", "verify", "--man=no", unit(CHANNEL))
        self.systemctl("start", unit(CHANNEL))
        self.machine.run("systemd-analyze", "security", "--threshold=25", unit(CHANNEL))

    def test_each_gap_in_the_confinement_is_explained_in_the_unit(self):
        self.systemctl("start", unit(CHANNEL))
        report = self.machine.run("systemd-analyze", "security", "--no-pager", unit(CHANNEL)).stdout
        gaps = set(re.findall(r"^✗ (\w+=)", report, re.M))
        self.assertIn("PrivateNetwork=", gaps, report)
        lines = self.machine.path("/usr/lib/systemd/system/rtcpub@.service").read_text().splitlines()
        comments = "\n".join(line for line in lines if line.startswith("#"))
        self.assertEqual({gap for gap in gaps if gap not in comments}, set())
