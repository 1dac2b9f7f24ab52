"""The GPU of a slot, shown what drivers show elsewhere: folders like theirs, and a stand-in for their tool."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from looper.errors import SessionError
from looper.evaluation.candidate import Candidate, Host
from looper.runner.gpu import SLACK_MB, GpuMemory, gpu_of
from looper.sandbox import Sandbox, available
from looper.sandbox.view import libraries, toolkit

SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
OTHERS = ("nvidia-modeset", "nvidia-caps/nvidia-cap1", "nvidia-caps/nvidia-cap2", "dri")
#: By bus address: UUID and minor number, which need not follow the order of the bus.
GPUS = {"0000:41:00.0": ("GPU-bbbb", 0), "0000:01:00.0": ("GPU-aaaa", 1), "0000:c1:00.0": ("GPU-cccc", 2)}


class Machine:
    """A folder with the device nodes and the driver's files of a machine with these GPUs."""

    def __init__(self, folder: Path, gpus: dict[str, tuple[str, int]]) -> None:
        self.dev, self.driver = folder / "dev", folder / "driver"
        for name in (*SHARED, *OTHERS, *(f"nvidia{minor}" for _, minor in gpus.values())):
            self.touch(self.dev / name)
        for bus, (uuid, minor) in gpus.items():
            text = f"Model: \t\t NVIDIA X\nGPU UUID: \t {uuid}\nBus Location: \t {bus}\nDevice Minor: \t {minor}\n"
            self.touch(self.driver / "gpus" / bus / "information", text)

    @staticmethod
    def touch(path: Path, text: str = "") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def assigned(self, entry: str) -> tuple[str, list[str], str]:
        """What ``CUDA_VISIBLE_DEVICES`` becomes, the nodes beside those that all share, and the whole GPU's UUID."""
        gpu = gpu_of(entry, self.driver, self.dev)
        names = [str(Path(node).relative_to(self.dev)) for node in gpu.nodes]
        assert names[: len(SHARED)] == list(SHARED)
        return gpu.visible, names[len(SHARED) :], gpu.uuid


@pytest.mark.parametrize(
    ("entry", "uuid", "node"),
    [
        ("0", "GPU-aaaa", "nvidia1"),
        ("1", "GPU-bbbb", "nvidia0"),
        ("2", "GPU-cccc", "nvidia2"),
        ("GPU-cccc", "GPU-cccc", "nvidia2"),
        ("GPU-b", "GPU-bbbb", "nvidia0"),
    ],
)
def test_a_slot_gets_the_node_of_its_own_gpu(tmp_path: Path, entry: str, uuid: str, node: str) -> None:
    assert Machine(tmp_path, GPUS).assigned(entry) == (uuid, [node], uuid)


def test_gpus_without_a_node_are_not_counted(tmp_path: Path) -> None:
    machine = Machine(tmp_path, GPUS)
    (machine.dev / "nvidia1").unlink()
    assert machine.assigned("0") == ("GPU-bbbb", ["nvidia0"], "GPU-bbbb")


@pytest.mark.parametrize("entry", ["3", "GPU-dddd", "GPU-", "-1", "MIG-1234"])
def test_a_gpu_that_is_not_there_is_said_so(tmp_path: Path, entry: str) -> None:
    with pytest.raises(
        SessionError, match=rf"the GPU '{entry}' cannot be told.*GPU-aaaa as nvidia1, GPU-bbbb as nvidia0"
    ):
        Machine(tmp_path, GPUS).assigned(entry)


def test_gpus_that_the_driver_does_not_name_are_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="cannot be told"):
        Machine(tmp_path, {bus: ("GPU-????????", minor) for bus, (_, minor) in GPUS.items()}).assigned("0")


def test_a_single_node_needs_no_name(tmp_path: Path) -> None:
    machine = Machine(tmp_path, {"0000:01:00.0": ("GPU-aaaa", 5)})
    assert machine.assigned("0") == ("GPU-aaaa", ["nvidia5"], "GPU-aaaa")
    shutil.rmtree(machine.driver)
    assert machine.assigned("0") == ("0", ["nvidia5"], "")


def test_the_subsystem_for_linux_has_one_node(tmp_path: Path) -> None:
    (tmp_path / "dxg").touch()
    assert gpu_of("0", tmp_path, tmp_path)[:2] == ("0", (str(tmp_path / "dxg"),))


def test_no_driver_no_nodes(tmp_path: Path) -> None:
    assert gpu_of("0", tmp_path, tmp_path) == ("0", (), "")


TOOL = """\
#!/bin/sh
case "$*" in
-L) cat <<END
GPU 0: NVIDIA A100 (UUID: GPU-bbbb)
  MIG 1g.5gb      Device  0: (UUID: MIG-1111)
  MIG 1g.5gb      Device  1: (UUID: MIG-2222)
END
;;
"-q -x") cat <<END
<nvidia_smi_log><gpu><uuid>GPU-bbbb</uuid>
<mig_device><index>0</index><gpu_instance_id>7</gpu_instance_id><compute_instance_id>0</compute_instance_id></mig_device>
<mig_device><index>1</index><gpu_instance_id>9</gpu_instance_id><compute_instance_id>1</compute_instance_id></mig_device>
</gpu></nvidia_smi_log>
END
;;
*--query-gpu=uuid*) echo "GPU-aaaa, NVIDIA X, 1000, 1.0" ;;
"--id=GPU-aaaa --query-gpu=memory.used --format=csv,noheader,nounits") cat "$(dirname "$0")/used" ;;
"--id=GPU-aaaa --query-compute-apps=pid,used_memory --format=csv,noheader,nounits") echo "4711, 512" ;;
*) echo "nvidia-smi: $*" >&2; exit 6 ;;
esac
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an ``nvidia-smi`` on the PATH; a file ``used`` beside it says how many MiB are in use."""
    folder = tmp_path / "tool"
    Machine.touch(folder / "nvidia-smi", TOOL)
    Machine.touch(folder / "used", "10\n")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def test_a_slice_gets_the_nodes_of_its_instances(tmp_path: Path, tool: Path) -> None:
    machine = Machine(tmp_path, GPUS)
    mig = machine.driver / "capabilities" / "gpu0" / "mig"
    for instance, minor in (("gi7", 66), ("gi7/ci0", 67), ("gi9", 84), ("gi9/ci1", 86)):
        machine.touch(mig / instance / "access", f"DeviceFileMinor: {minor}\nDeviceFileMode: 292\n")
        machine.touch(machine.dev / "nvidia-caps" / f"nvidia-cap{minor}")
    caps = ["nvidia-caps/nvidia-cap84", "nvidia-caps/nvidia-cap86"]
    assert machine.assigned("MIG-2222") == ("MIG-2222", ["nvidia0", *caps], "GPU-bbbb")
    (mig / "gi9" / "ci1" / "access").unlink()
    with pytest.raises(SessionError, match="cannot be told"):
        machine.assigned("MIG-2222")


def test_memory_that_is_back_is_not_held(tool: Path) -> None:
    memory = GpuMemory(["GPU-aaaa", "GPU-zzzz", ""])
    (tool / "used").write_text(f"{10 + SLACK_MB}\n")
    assert memory.held("GPU-aaaa", patience_s=0) == ""


def test_memory_that_is_not_back_is_told_with_who_holds_it(tool: Path) -> None:
    memory = GpuMemory(["GPU-aaaa"])
    (tool / "used").write_text("522\n")
    assert memory.held("GPU-aaaa", patience_s=0) == (
        "0 s after a run, 512 MiB of the GPU GPU-aaaa are still held, by process 4711 (512 MiB)"
    )
    (tool / "used").write_text("[N/A]\n")
    assert "does not tell its memory any more" in memory.held("GPU-aaaa", patience_s=0)


def test_memory_is_waited_for(tool: Path) -> None:
    memory = GpuMemory(["GPU-aaaa"])
    (tool / "used").write_text("522\n")
    back = subprocess.Popen(["sh", "-c", f"sleep 0.5; echo 10 > {tool}/new; mv {tool}/new {tool}/used"])
    assert memory.held("GPU-aaaa", patience_s=60) == ""
    assert back.wait() == 0


def test_what_was_free_later_counts(tool: Path) -> None:
    (tool / "used").write_text("500\n")
    memory = GpuMemory(["GPU-aaaa"])
    (tool / "used").write_text("10\n")
    assert memory.held("GPU-aaaa", patience_s=0) == ""
    (tool / "used").write_text("500\n")
    assert "490 MiB" in memory.held("GPU-aaaa", patience_s=0)


def test_a_gpu_of_which_nothing_is_known_is_not_waited_for(tool: Path) -> None:
    assert GpuMemory(["GPU-zzzz"]).held("GPU-zzzz") == GpuMemory([]).held("") == ""


TARGET = """
from pathlib import Path
import looper
@looper.hookimpl
def looper_target(options):
    budget = looper.Budget(run_s=5)
    return looper.Target("t", Path(__file__).parent, ("solution.py",), looper.Metric("loss"), budget, device="cuda")
class Counting(looper.Proposer):
    name = "counting"
    def propose(self, context):
        return looper.Proposal({"solution.py": f"# {len(context.history)}"}, "count")
@looper.hookimpl
def looper_proposer(name):
    return Counting() if name == "counting" else None
"""

# A machine whose one GPU is that of the subsystem for Linux, for as long as this shell lives.
GPU_MACHINE = """
set -e
mkdir "$FOLDER/dev" && mount -t tmpfs tmpfs "$FOLDER/dev"
for name in null zero full random urandom tty shm fd pts; do
    [ -d /dev/$name ] && mkdir "$FOLDER/dev/$name" || touch "$FOLDER/dev/$name"
    mount --rbind /dev/$name "$FOLDER/dev/$name"
done
touch "$FOLDER/dev/dxg"
mount --move "$FOLDER/dev" /dev
exec "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can show a device node that is not there")
def test_a_session_ends_when_its_gpu_is_not_free_again(tmp_path: Path, tool: Path) -> None:
    target = tmp_path / "t"
    evaluate = f"def evaluate(run):\n    open({str(tool / 'used')!r}, 'w').write('522')\n    run.report(loss=1.0)\n"
    for name, text in (("target.py", TARGET), ("evaluate.py", evaluate), ("solution.py", ""), ("program.md", "")):
        Machine.touch(target / name, text)
    command = [sys.executable, "-m", "looper", "run", str(target), "--proposer", "counting", "--unsafe-no-sandbox"]
    ended = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", GPU_MACHINE, "sh", *command],
        env={**os.environ, "FOLDER": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = " ".join(ended.stderr.split())
    assert ended.returncode == 2, ended.stderr
    assert "512 MiB of the GPU GPU-aaaa are still held, by process 4711 (512 MiB)" in told
    assert "nvidia-smi --gpu-reset" in told
    lines = (target / ".looper" / "t" / "ledger.jsonl").read_text().splitlines()
    assert sum('"event": "proposed"' in line or '"event":"proposed"' in line for line in lines) == 1
    assert any('"infra"' in line for line in lines)


NAMING = """
import socket, threading
from pathlib import Path

def name_a_thread():
    found = []
    def run():
        me = f"/proc/self/task/{threading.get_native_id()}/comm"
        try:
            Path(me).write_text("cuda-EvtHandlr")
        except OSError as error:
            found.append(str(error.errno))
        found.append(Path(me).read_text().strip())
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found

def listen():
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as uvm:
        uvm.bind("\\0cuda-uvmfd-4026531836-1")
        uvm.listen(16)
    return True
"""


@pytest.mark.parametrize("backend", [name for name in available() if name in ("bwrap", "native", "landlock")])
def test_what_a_driver_does_at_its_start_is_allowed_to_a_worker_with_a_gpu_alone(tmp_path: Path, backend: str) -> None:
    with_gpu = worker_of(tmp_path, backend, devices=("/dev/zero",))
    without = worker_of(tmp_path, backend, devices=())
    try:
        assert with_gpu.call("name_a_thread") == ["cuda-EvtHandlr"]
        assert without.call("name_a_thread")[0] == str(errno.EACCES)
        assert with_gpu.call("listen") is True
    finally:
        with_gpu.close()
        without.close()


def worker_of(folder: Path, backend: str, devices: tuple[str, ...]) -> Candidate:
    host = Host(Sandbox(backend), str(folder), "cuda", devices, (), 2048, lambda: None, lambda values: None)
    worker = Candidate(host, {"solution.py": textwrap.dedent(NAMING).encode()})
    worker.load("solution.py", None)
    return worker


def test_only_libraries_of_a_search_path_are_shown(tmp_path: Path) -> None:
    for name in ("libx.so", "libx.so.1.2", "secret.txt", "notes.some", "inner/liby.so", "id_key"):
        Machine.touch(tmp_path / name)
    (tmp_path / "trap.so").symlink_to("secret.txt")
    (tmp_path / "liblink.so.1").symlink_to("libx.so.1.2")
    shown = libraries(f"{tmp_path}:.::/nowhere:/")
    assert sorted(Path(path).name for path in shown) == ["liblink.so.1", "libx.so", "libx.so.1.2"]
    assert libraries("") == []


def test_a_toolkit_is_shown_in_parts_and_a_home_not_at_all(tmp_path: Path) -> None:
    Machine.touch(tmp_path / "bin" / "script")
    assert toolkit(str(tmp_path)) == toolkit("") == toolkit(".") == toolkit("/") == []
    Machine.touch(tmp_path / "bin" / "ptxas")
    Machine.touch(tmp_path / "nvvm" / "libdevice" / "libdevice.10.bc")
    shown = toolkit(str(tmp_path))
    assert {str(tmp_path / "bin"), str(tmp_path / "nvvm")} <= set(shown)
    assert str(tmp_path) not in shown
