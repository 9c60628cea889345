# SPDX-License-Identifier: LGPL-2.1-or-later
"""The plugin and the processes around it: signals, forks, environments."""
import shlex
import signal

import pytest

import support
from model import savefile
from model.generator import Generator
from plugin.bench import PLUGIN, Bench

SAVES = 3


@pytest.fixture
def bench(tools, tmp_path) -> Bench:
    return Bench(tools, tmp_path, Generator(3).pv())


def eventually(process, condition) -> None:
    support.eventually(lambda: condition() or process.poll() is not None)
    assert process.poll() is None


@pytest.mark.parametrize("signum", (signal.SIGINT, signal.SIGTERM))
def test_a_signal_ends_every_save(bench, tmp_path, signum):
    """And not only the one that was begun last."""
    files = [tmp_path / f"file{n}" for n in range(SAVES)]
    process = bench.start("save-many", *files, FAKE_PAUSE="3")
    eventually(process, lambda: (tmp_path / "paused").exists() and
               (tmp_path / "paused").read_bytes().count(b".") == SAVES)
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and out == b"resume\n", err
    assert err.count(b"save cancelled") == SAVES, err


def test_a_signal_without_shared_memory(bench, tmp_path):
    """No page can be made that others see; the helper is known all the same."""
    process = bench.start(
        "save", tmp_path / "file", FAKE_PAUSE="3", FAULT_MEMFD="none",
        preload=f"{bench.tools / 'faults.so'}:{PLUGIN}")
    eventually(process, lambda: (tmp_path / "paused").exists())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and out == b"resume\n", err
    assert err.count(b"save cancelled") == 1, err


def test_helper_without_an_environment(bench, tmp_path):
    """The toolstack has none when it starts it."""
    wrapper = tmp_path / "wrapper"
    exports = "".join(f"export {name}={shlex.quote(value)}\n"
                      for name, value in bench.environment().items()
                      if name.startswith("FAKE"))
    wrapper.write_text(f"#!/bin/sh\n{exports}"
                       f'exec {bench.tools / "helper"} "$@"\n')
    wrapper.chmod(0o755)
    result = bench.run("save", tmp_path / "file", FAKE_NO_ENVIRON="yes",
                       LIBXL_SAVE_HELPER=str(wrapper))
    assert result.status == 0 and not result.lines, result
    assert bench.helper()["LOADED"] == "yes"
    assert savefile.to_v2((tmp_path / "file").read_bytes()) == \
        bench.stock_file()


@pytest.mark.parametrize("kernel", ("noexec", "old"))
def test_memory_that_cannot_be_executed(bench, tmp_path, kernel):
    """Whatever the kernel wants to hear: others see the save."""
    store = tmp_path / "store"
    store.mkdir()
    process = bench.start(
        "save", tmp_path / "file", FAKE_PAUSE="3", FAULT_MEMFD=kernel,
        FAKE_PAUSE_SECONDS="2", FAKE_STORE=str(store),
        preload=f"{bench.tools / 'faults.so'}:{PLUGIN}")
    eventually(process, lambda: list(store.glob("**/phase/.value")))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
