# SPDX-License-Identifier: LGPL-2.1-or-later
"""The plugin in the toolstack, with the libxenlight and the save helper of
tests/fakes/."""
import os
import resource
import signal
import subprocess
from pathlib import Path

from model import audit, savefile
from model.generator import Generator
from support import BUILD, eventually

PLUGIN = BUILD / "libxl-aligned.so.0"
STREAM_LIBRARY = BUILD / "libxl-aligned-stream.so"


def signature(pid: int | None = None) -> str:
    """Of a process, as a command signs what it passes to the plugin."""
    pid = pid or os.getpid()
    stat = Path(f"/proc/{pid}/stat").read_text()
    return f"{pid}-{stat.rpartition(')')[2].split()[19]}"


class Result:
    def __init__(self, process: subprocess.CompletedProcess) -> None:
        self.status = process.returncode
        self.out = process.stdout.decode()
        self.err = process.stderr.decode()
        self.lines = [line for line in self.err.splitlines()
                      if line.startswith("libxl-aligned: ")]

    def __repr__(self) -> str:
        return f"status {self.status}\n{self.out}\n{self.err}"


class Bench:
    """One test's folder, stream and environment."""

    def __init__(self, tools: Path, folder: Path, stream: bytes = b"",
                 tail: bytes = b"") -> None:
        self.tools = tools
        self.folder = folder
        self.stream = stream or Generator(1).pv()
        self.tail = tail
        self.config = "{}"
        (folder / "stream").write_bytes(self.stream)
        (folder / "tail").write_bytes(tail)
        (folder / "none.conf").write_text("")

    def environment(self, preload: str = str(PLUGIN), **more) -> dict:
        env = {
            "PATH": os.environ["PATH"],
            "FAKE_DIR": str(self.folder),
            "FAKE_STREAM": str(self.folder / "stream"),
            "FAKE_MODULES": str(self.tools),
            "FAKE_RESTORED": str(self.folder / "restored"),
            "FAKE_CONFIG": self.config,
            "LIBXL_SAVE_HELPER": str(self.tools / "helper"),
            "XL_ALIGNED_CONFIG": str(self.folder / "none.conf"),
            "XL_ALIGNED_BY": signature(),
        }
        if preload:
            env["LD_PRELOAD"] = preload
        env.update(more)
        return {key: value for key, value in env.items() if value}

    def start(self, *args, tool: str = "toolstack", stdout=subprocess.PIPE,
              before=None, pass_fds=(), **env) -> subprocess.Popen:
        return subprocess.Popen([str(self.tools / tool), *map(str, args)],
                                env=self.environment(**env), stdout=stdout,
                                stderr=subprocess.PIPE, preexec_fn=before,
                                pass_fds=pass_fds)

    def run(self, *args, **options) -> Result:
        process = self.start(*args, **options)
        out, err = process.communicate(timeout=60)
        return Result(subprocess.CompletedProcess(
            args, process.returncode, out or b"", err))

    def send(self, folder: Path, **options) -> tuple[Result, bytes]:
        """Saves into a pipe; what arrives there."""
        pipe = folder / "pipe"
        os.mkfifo(pipe)
        with open(folder / "read", "wb") as read:
            reader = subprocess.Popen(["cat", pipe], stdout=read)
            result = self.run("save", pipe, **options)
            reader.wait(timeout=20)
        assert result.status == 0, result
        return result, (folder / "read").read_bytes()

    def wait_paused(self, process: subprocess.Popen) -> None:
        """Until the helper has got as far as FAKE_PAUSE says."""
        def paused() -> bool:
            assert process.poll() is None
            return (self.folder / "paused").exists()
        eventually(paused, "not paused")

    def log(self) -> list:
        return (self.folder / "log").read_text().splitlines()

    def variables(self, name: str) -> dict:
        lines = (self.folder / name).read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def helper(self) -> dict:
        """The environment of the helper that ran last."""
        notes = sorted(self.folder.glob("helper-env-*"),
                       key=lambda path: path.stat().st_mtime_ns)
        return self.variables(notes[-1].name)

    def stock_file(self) -> bytes:
        """What stock writes."""
        return (savefile.xl_head(self.config.encode())
                + savefile.libxl_head() + self.stream + self.tail + bytes(8))

    def restored(self) -> bytes:
        return (self.folder / "restored").read_bytes()


def check_v3(path: Path, bench: Bench) -> None:
    """COMPLETE, aligned, and the v2 file that stock would have written."""
    report, decoder, _ = audit.audit(str(path))
    assert not report.faults
    assert decoder.format == "v3"
    assert decoder.header.state == 2
    assert savefile.to_v2(path.read_bytes()) == bench.stock_file()


def saved(bench, path: Path) -> bytearray:
    assert bench.run("save", path).status == 0
    (path.parent / "log").unlink()
    return bytearray(path.read_bytes())


def limited_files(size: int):
    """For `before`: no file grows beyond this, as on a full disk."""
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return limit
