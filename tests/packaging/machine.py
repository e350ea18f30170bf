"""A fresh Debian root to install packages in and to boot: a real systemd on this kernel, in namespaces of its own."""

import atexit
import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rtcpub-packaging"
# On a real file system: overlays do not stack on each other's upper layers.
LAYERS = os.environ.get("TMPDIR", "/var/tmp")
SUITE = "bookworm"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
# Units that would reach through to this machine, or that want a terminal.
MASKED = ["systemd-sysctl.service", "systemd-modules-load.service", "console-getty.service"]


def base():
    """The smallest Debian with systemd, made once."""
    root = CACHE / SUITE
    if not root.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=f"{SUITE}.", dir=CACHE))
        making.chmod(0o755)
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=minbase", "--aptopt=APT::Install-Recommends \"false\"",
             "--include=systemd-sysv,udev,ca-certificates", SUITE, making], check=True)
        making.rename(root)
    return root


@functools.cache
def installed():
    """The layer that apt makes of the base by installing the package named by RTCPUB_PACKAGE, and nothing it does not
    depend on."""
    with Machine() as machine:
        shutil.copy(os.environ["RTCPUB_PACKAGE"], machine.path("/root/rtcpub.deb"))
        machine.run("apt-get", "-qq", "update")
        machine.run("apt-get", "-qq", "install", "-y", "/root/rtcpub.deb", timeout=900)
        machine.run("apt-get", "clean")
        layer = Path(tempfile.mkdtemp(prefix="rtcpub-installed.", dir=LAYERS))
        atexit.register(shutil.rmtree, layer)
        machine.upper.rename(layer / "upper")
        return [layer / "upper"]


class Machine:
    """A root under layers over the base, the topmost one writable; all that is written and runs in it ends with it."""

    def __init__(self, layers=()):
        self.folder = Path(tempfile.mkdtemp(prefix="rtcpub-machine.", dir=LAYERS))
        self.root = self.folder / "root"
        self.upper = self.folder / "upper"
        for name in ("root", "upper", "work"):
            (self.folder / name).mkdir()
        lowers = ":".join(map(str, [*reversed(layers), base()]))
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                        f"lowerdir={lowers},upperdir={self.upper},workdir={self.folder}/work", self.root], check=True)
        self.boot_process = None
        self.init = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.halt()
        subprocess.run(["umount", "-l", self.root], check=True)
        shutil.rmtree(self.folder)

    def path(self, inside):
        return self.root / str(inside).lstrip("/")

    def write(self, inside, text, mode=0o644):
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def boot(self):
        for unit in MASKED:
            path = self.path(f"/etc/systemd/system/{unit}")
            if not path.is_symlink():
                path.symlink_to("/dev/null")
        with open(self.folder / "boot.log", "w") as log:
            self.boot_process = subprocess.Popen([HERE / "boot", self.root], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.init = wait_for("a process 1", self.process_one, 10)
        wait_for("systemd", lambda: self.path_now("/run/systemd/private").exists() or None, 60)
        state = self.run("systemctl", "is-system-running", "--wait", check=False).stdout.strip()
        assert state == "running", self.run("systemctl", "--failed").stdout

    def process_one(self):
        """The child that is process 1 of its own namespace."""
        children = Path(f"/proc/{self.boot_process.pid}/task/{self.boot_process.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if re.search(r"^NSpid:.*\s1$", Path(f"/proc/{child}/status").read_text(), re.M):
                    return child
        return None

    def halt(self):
        """As a power cut would."""
        if not self.boot_process:
            return
        group = next(Path("/sys/fs/cgroup").rglob(f"rtcpub-boot.{self.boot_process.pid}"), None)
        for processes in group.rglob("cgroup.procs") if group else []:
            for process in processes.read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
        self.boot_process.wait()
        if group:
            events = group / "cgroup.events"
            wait_for("its processes to be gone", lambda: "populated 0" in events.read_text() or None, 10)
            for folder in [*sorted(group.rglob("*/"), reverse=True), group]:
                folder.rmdir()
        self.boot_process = self.init = None

    def path_now(self, inside):
        """A file as the booted machine sees it, /run and /tmp too."""
        return Path(f"/proc/{self.init}/root/{str(inside).lstrip('/')}")

    def run(self, *command, check=True, timeout=120):
        """Runs a command in the machine, booted or not, as root."""
        if self.init:
            into = ["nsenter", "-t", self.init, "-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w"]
        else:
            into = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-ec",
                    'mount -t proc proc "$0/proc"; mount -t tmpfs tmp "$0/tmp"; mount --rbind /dev "$0/dev"; '
                    'cp -L /etc/resolv.conf "$0/etc/resolv.conf"; exec chroot "$0" "$@"', str(self.root)]
        done = subprocess.run([*into, *map(str, command)], env=ENVIRONMENT, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
        return done

    def show(self, unit, *names):
        """Properties of a unit, as systemctl show has them."""
        lines = self.run("systemctl", "show", unit, *(f"-p{name}" for name in names)).stdout.splitlines()
        found = dict(line.split("=", 1) for line in lines)
        return found[names[0]] if len(names) == 1 else found

    def wait_for_state(self, unit, wanted, timeout=30):
        """Waits for ActiveState (and SubState after a slash) to be `wanted`."""
        def reached():
            now = self.show(unit, "ActiveState", "SubState")
            return wanted in (now["ActiveState"], f"{now['ActiveState']}/{now['SubState']}") or None
        wait_for(f"{unit} to be {wanted}", reached, timeout)

    def journal(self, unit):
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit).stdout


def wait_for(what, look, timeout):
    """Calls `look` until it returns something; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"waited {timeout} s in vain for {what}"
        time.sleep(0.02)
    return found


def repacked(package, folder, version):
    """The same package with another version."""
    content = Path(folder) / f"content-{version}"
    subprocess.run(["dpkg-deb", "-R", package, content], check=True)
    control = content / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", f"Version: {version}", control.read_text(), flags=re.M))
    out = Path(folder) / f"rtcpub_{version}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "-z0", "-b", content, out], check=True, stdout=subprocess.DEVNULL)
    return out
