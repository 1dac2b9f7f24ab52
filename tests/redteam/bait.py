"""The host side: what there is to steal, to reach and to spoil, and whether any of it was."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.measuring import eventually, marked

SHARED_PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/mnt", "/sys/fs/cgroup")
KEPT = b"as it was"
SWITCHES = ("kernel/core_pattern", "kernel/modprobe", "kernel/hostname")


class Bait:
    """Everything is laid so that only isolation keeps it from another user's process.

    Attributes:
        secret: text that no candidate may ever come to see.
        mark: text in the name of whatever an attack leaves behind.
        folder: on the host; everyone may read it.
        told: what an attack is told, as if it had found it out.
    """

    def __init__(self) -> None:
        self.secret = f"secret-{secrets.token_hex(8)}"
        self.mark = f"redteam{secrets.token_hex(3)}"  # as long as a process's name may be
        self.folder = Path(tempfile.mkdtemp(prefix="bait-", dir="/tmp"))
        self.folder.chmod(0o755)
        self._switches = switches()
        first = secrets.randbelow(1 << 30) + 1
        self._keys = range(first, first + 8)  # of System V's objects
        self._lay_files()
        self._listen()
        self._leak = os.open(self.folder, os.O_RDONLY)
        os.set_inheritable(self._leak, True)
        os.environ["REDTEAM_API_KEY"] = self.secret
        self._victim = self._start_victim()

    @property
    def told(self) -> dict[str, Any]:
        return {
            "mark": self.mark,
            "looper": os.getpid(),
            "victim": self._victim.pid,
            "home": str(self.folder / "home"),
            "data": str(self.folder / "data"),
            "repository": str(self.folder / "repository"),
            "slots": str(self.folder / "slots"),
            "keep": str(self.folder / "keep"),
            "drop": str(self.folder / "drop"),
            "daemon": str(self.folder / "daemon.sock"),
            "setuid": str(self.folder / "id") if os.geteuid() == 0 else "",
            "abstract": f"{self.mark}-abstract",
            "datagrams": f"{self.mark}-datagrams",
            "datagram_file": str(self.folder / "datagrams.sock"),
            "tcp": self._tcp.getsockname()[1],
            "udp": self._udp.getsockname()[1],
            "key": self._keys[0],
            "cores": os.cpu_count() or 1,
        }

    def harm(self) -> list[str]:
        """What was done to the host since the last look, in words; put right again."""
        found = []
        if not self._kept():
            found.append("a file of the host's was changed")
        if list((self.folder / "drop").iterdir()):
            found.append("a file was left on the host")
        if self._heard():
            found.append("a socket of the host's was reached")
        if not self._victim_runs():
            found.append("a process of the host's was stopped or ended")
        if switches() != self._switches:
            found.append("the kernel's settings were changed")
        if marked(self.mark):
            found.append("processes live on")
        if left := self._left():
            found.append(f"something is left in {' and '.join(left)}")
        if found:
            self._put_right()
        return found

    def close(self) -> None:
        self._put_right()
        del os.environ["REDTEAM_API_KEY"]
        os.close(self._leak)
        for sock in self._sockets:
            sock.close()
        self._victim.kill()
        self._victim.communicate()
        shutil.rmtree(self.folder)

    def _lay_files(self) -> None:
        for name in (
            "home/.ssh/id",
            "data/val.bin",
            "repository/.git/HEAD",
            "repository/.looper/tag/ledger.jsonl",
        ):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.secret)
        for name in ("drop", "claims"):
            (self.folder / name).mkdir()
        (self.folder / "drop").chmod(0o777)
        self._restore_kept()
        if os.geteuid() == 0:
            shutil.copy("/usr/bin/id", self.folder / "id")
            (self.folder / "id").chmod(0o4755)

    def _listen(self) -> None:
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self._servers = [self._tcp]
        for address in (str(self.folder / "daemon.sock"), f"\0{self.mark}-abstract"):
            server = socket.socket(socket.AF_UNIX)
            server.bind(address)
            server.listen()
            self._servers.append(server)
        self._letterboxes = [self._udp]
        for address in (str(self.folder / "datagrams.sock"), f"\0{self.mark}-datagrams"):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.bind(address)
            self._letterboxes.append(sock)
        for name in ("daemon.sock", "datagrams.sock"):
            (self.folder / name).chmod(0o666)
        self._sockets = [*self._servers, *self._letterboxes]
        for sock in self._sockets:
            sock.setblocking(False)

    def _start_victim(self) -> subprocess.Popen[bytes]:
        """A process of the user's, with the secret in its command line and its environment."""
        code = "import sys\nprint(flush=True)\nsys.stdin.read()"
        command = [sys.executable, "-I", "-S", "-c", code, self.secret]
        env = {"REDTEAM_API_KEY": self.secret}
        victim = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        assert victim.stdout is not None
        victim.stdout.readline()
        return victim

    def _kept(self) -> bool:
        status = os.lstat(self.folder / "keep")
        as_it_was = (stat.S_IFREG | 0o666, self._kept_at)
        return (status.st_mode, status.st_mtime_ns) == as_it_was and (self.folder / "keep").read_bytes() == KEPT

    def _restore_kept(self) -> None:
        path = self.folder / "keep"
        path.write_bytes(KEPT)
        path.chmod(0o666)
        self._kept_at = path.stat().st_mtime_ns

    def _heard(self) -> bool:
        """Whether anybody connected or sent anything."""
        heard = False
        for server in self._servers:
            try:
                while True:
                    server.accept()[0].close()
                    heard = True
            except BlockingIOError:
                continue
        for sock in self._letterboxes:
            try:
                while sock.recv(100):
                    heard = True
            except BlockingIOError:
                continue
        return heard

    def _victim_runs(self) -> bool:
        if self._victim.poll() is not None:
            return False
        state = Path(f"/proc/{self._victim.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "Tt"

    def _left(self) -> list[str]:
        found = [place for place in SHARED_PLACES if os.path.isdir(place) and self._marked_in(place)]
        for kind in ("shm", "sem", "msg"):
            table = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]
            if any(int(line.split()[0]) in self._keys for line in table):
                found.append(f"System V's {kind}")
        return found

    def _marked_in(self, place: str) -> list[str]:
        return [name for name in os.listdir(place) if self.mark in name]

    def _put_right(self) -> None:
        for pid in marked(self.mark):
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: not marked(self.mark))
        if not self._kept():
            self._restore_kept()
        for path in (self.folder / "drop").iterdir():
            path.unlink()
        if not self._victim_runs():
            self._victim.kill()
            self._victim.communicate()
            self._victim = self._start_victim()
        for place in filter(os.path.isdir, SHARED_PLACES):
            for name in self._marked_in(place):
                os.unlink(f"{place}/{name}")
        for key in self._keys:
            for kind in ("M", "S"):
                subprocess.run(["ipcrm", f"-{kind}", str(key)], capture_output=True, check=False)


def switches() -> list[str]:
    return [_text(f"/proc/sys/{name}") for name in SWITCHES]


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
