"""What dpkg makes of the package: a fresh Debian root, then an upgrade, a removal and a purge with a channel running."""

import tempfile
import unittest

from machine import Machine, installed, repacked

CHANNEL = "c40hipepjh65aeq6ndj0"
UNIT = f"rtcpub@{CHANNEL}.service"
CONFIG = '[server]\nurl = "wss://127.0.0.1:8267"\n'

# Path: mode, owner, group.
FILES = {
    "/usr/bin/rtcpub": "755 root root",
    "/usr/lib/systemd/system/rtcpub@.service": "644 root root",
    "/usr/lib/systemd/system/rtcpub.target": "644 root root",
    "/usr/lib/sysusers.d/rtcpub.conf": "644 root root",
    "/usr/lib/tmpfiles.d/rtcpub.conf": "644 root root",
    "/usr/lib/udev/rules.d/99-rtcpub.rules": "644 root root",
    "/usr/share/man/man1/rtcpub.1.gz": "644 root root",
    "/usr/share/man/man1/rtcpub-run.1.gz": "644 root root",
    "/usr/share/bash-completion/completions/rtcpub": "644 root root",
    "/usr/share/zsh/vendor-completions/_rtcpub": "644 root root",
    "/usr/share/fish/vendor_completions.d/rtcpub.fish": "644 root root",
    "/etc/rtcpub": "2750 root rtcpub",
    "/etc/rtcpub/example.toml": "644 root root",
}


class Installation(unittest.TestCase):
    """Each claim has a root of its own, in which the package has just been installed."""

    def setUp(self):
        self.machine = self.enterContext(Machine(installed()))

    def boot_with_a_channel(self):
        self.machine.write(f"/etc/rtcpub/{CHANNEL}.toml", CONFIG)
        self.machine.boot()
        self.machine.run("systemctl", "enable", "--now", UNIT)
        self.assertEqual(self.machine.show(UNIT, "ActiveState"), "active")

    def upgrade(self):
        folder = self.enterContext(tempfile.TemporaryDirectory(dir="/var/tmp"))
        newer = repacked(self.machine.path("/root/rtcpub.deb"), folder, "999-1")
        self.machine.path("/root/newer.deb").write_bytes(newer.read_bytes())
        self.machine.run("dpkg", "-i", "/root/newer.deb")

    # Claims

    def test_files_lie_where_they_belong_with_the_modes_they_need(self):
        found = {path: self.machine.run("stat", "-c", "%a %U %G", path).stdout.strip() for path in FILES}
        self.assertEqual(found, FILES)
        self.machine.run("dpkg", "--verify", "rtcpub")

    def test_it_knows_its_version_and_the_example_is_right(self):
        version = self.machine.run("dpkg-query", "-W", "-f=${Version}", "rtcpub").stdout.rsplit("-", 1)[0]
        self.assertEqual(self.machine.run("rtcpub", "--version").stdout, f"rtcpub {version}\n")
        # The example's host is an example: any that resolves will do.
        checked = self.machine.run("rtcpub", "check", "example", "--server", "wss://127.0.0.1:8267", check=False)
        self.assertEqual(checked.returncode, 0, checked.stdout)

    def test_the_user_is_in_the_groups_that_own_cameras_encoders_buses_and_lines(self):
        groups = set(self.machine.run("id", "-Gn", "rtcpub").stdout.split())
        self.assertEqual(groups, {"rtcpub", "video", "render", "i2c", "gpio"})

    def test_a_channel_file_of_root_with_a_secret_is_readable_for_the_daemon_and_nobody_else(self):
        # What the check's warning asks for: chmod o-r.
        self.machine.run("sh", "-c", f"echo secret >/etc/rtcpub/{CHANNEL}.toml; chmod o-r /etc/rtcpub/{CHANNEL}.toml")
        read = ["cat", f"/etc/rtcpub/{CHANNEL}.toml"]
        self.machine.run("setpriv", "--reuid=rtcpub", "--regid=rtcpub", "--init-groups", *read)
        refused = self.machine.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *read, check=False)
        self.assertIn("Permission denied", refused.stdout)

    def test_the_target_is_enabled_and_no_channel_is(self):
        self.machine.boot()
        self.assertEqual(self.machine.show("rtcpub.target", "ActiveState"), "active")
        self.assertEqual(self.machine.run("systemctl", "list-units", "--all", "-q", "rtcpub@*").stdout, "")

    def test_an_enabled_channel_comes_up_at_boot(self):
        self.machine.write(f"/etc/rtcpub/{CHANNEL}.toml", CONFIG)
        self.machine.run("systemctl", "enable", UNIT)
        self.machine.boot()
        self.machine.wait_for_state(UNIT, "active")

    def test_an_upgrade_restarts_what_runs_and_keeps_what_the_owner_wrote(self):
        self.boot_with_a_channel()
        self.machine.run("sh", "-c", "echo '# mine' >>/etc/rtcpub/example.toml")
        before = self.machine.show(UNIT, "MainPID")
        self.upgrade()
        self.machine.wait_for_state(UNIT, "active")
        self.assertNotEqual(self.machine.show(UNIT, "MainPID"), before)
        self.assertEqual(self.machine.path(f"/etc/rtcpub/{CHANNEL}.toml").read_text(), CONFIG)
        self.assertIn("# mine", self.machine.path("/etc/rtcpub/example.toml").read_text())

    def test_an_upgrade_starts_nothing_that_the_owner_stopped_or_disabled(self):
        self.boot_with_a_channel()
        self.machine.run("systemctl", "stop", UNIT)
        self.machine.run("systemctl", "disable", "--now", "rtcpub.target")
        self.upgrade()
        self.assertEqual(self.machine.show(UNIT, "ActiveState"), "inactive")
        self.assertEqual(self.machine.show("rtcpub.target", "ActiveState", "UnitFileState"),
                         {"ActiveState": "inactive", "UnitFileState": "disabled"})

    def test_a_removal_stops_and_parks_first_and_leaves_the_owners_files(self):
        self.boot_with_a_channel()
        self.machine.run("apt-get", "-qq", "remove", "-y", "rtcpub")
        self.assertIn(self.machine.show(UNIT, "ActiveState"), ("inactive", "failed"))
        self.assertRegex(self.machine.journal(UNIT), "Deactivated successfully")
        self.assertFalse(self.machine.path("/usr/bin/rtcpub").exists())
        self.assertEqual(self.machine.path(f"/etc/rtcpub/{CHANNEL}.toml").read_text(), CONFIG)

    def test_a_purge_leaves_nothing(self):
        self.boot_with_a_channel()
        self.machine.run("install", "-D", "-m", "600", "/dev/null", f"/etc/credstore/rtcpub.{CHANNEL}.server.token")
        self.machine.run("apt-get", "-qq", "purge", "-y", "rtcpub")
        left = self.machine.run("find", "/etc", "/usr", "/var", "/run", "-name", "*rtcpub*").stdout
        self.assertEqual(left, "")
        for database in ("passwd", "group"):
            self.assertNotEqual(self.machine.run("getent", database, "rtcpub", check=False).returncode, 0)
