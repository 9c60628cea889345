# SPDX-License-Identifier: LGPL-2.1-or-later
"""Success means stable storage, on stock's path too and where root may not
do everything."""
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from model import audit, savefile
from plugin.bench import PLUGIN, STREAM_LIBRARY, Bench

NOBODY = 65534


@pytest.fixture
def bench(tools, tmp_path) -> Bench:
    return Bench(tools, tmp_path)


@pytest.mark.parametrize("command", ("save", "append"))
def test_stock_path_syncs(bench, tmp_path, command):
    """The file, and the folder that has a new name."""
    config = tmp_path / "broken.conf"
    config.write_text("format =\n")
    mark, file = tmp_path / "fault", tmp_path / "file"
    faults = 0
    for number in range(1, 10):
        result = bench.run(
            command, file, XL_ALIGNED_CONFIG=str(config),
            preload=f"{bench.tools / 'faults.so'}:{PLUGIN}",
            FAULT_CALL="fsync", FAULT_IN="toolstack", FAULT_N=str(number),
            FAULT_MARK=str(mark))
        if not mark.exists():
            break
        mark.unlink()
        assert result.status == 1 and result.out == "resume\n", result
        assert not file.exists(), "a file that xendomains would restore"
        assert ("fsync", "its directory on stable storage")[faults] in \
            result.lines[-1]
        faults += 1
    assert faults == 2
    assert result.status == 0 and result.out == "destroy\n", result
    assert file.read_bytes() == bench.stock_file()


def test_the_file_is_looked_up_once(bench, tmp_path):
    """With a descriptor for its directory, not again at the commit."""
    config = tmp_path / "broken.conf"
    config.write_text("format =\n")
    mark, file = tmp_path / "fault", tmp_path / "file"
    lookups = 0
    while True:
        bench.run("save", file, XL_ALIGNED_CONFIG=str(config),
                  preload=f"{bench.tools / 'faults.so'}:{PLUGIN}",
                  FAULT_CALL="readlink", FAULT_IN="toolstack",
                  FAULT_N=str(lookups + 1), FAULT_MARK=str(mark))
        if not mark.exists():
            break
        mark.unlink()
        lookups += 1
    assert lookups == 1


@pytest.fixture
def squashed(tools):
    """A Bench that nobody can use, and a folder in which nobody can make
    names and see none: what root is left with on NFS."""
    if os.getuid():
        pytest.skip("needs root, to become nobody")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(tools, folder / "tools")
        (folder / "tools/xl-aligned").mkdir()
        shutil.copy(PLUGIN, folder / "tools")
        shutil.copy(STREAM_LIBRARY, folder / "tools/xl-aligned")
        (folder / "bench").mkdir()
        bench = Bench(folder / "tools", folder / "bench")
        (folder / "bench").chmod(0o777)
        export = folder / "export"
        export.mkdir()
        export.chmod(0o733)
        yield bench, export


@pytest.mark.parametrize("named", (False, True))
@pytest.mark.parametrize("format_", ("v3", "stock"))
def test_folder_that_cannot_be_read(squashed, named, format_):
    bench, export = squashed
    file = export / ("new.partial" if named else "new")
    env = {"XL_ALIGNED_COMMIT_NAME": str(export / "new")} if named else {}
    if format_ == "stock":
        env["XL_ALIGNED_CONFIG"] = "/nonexistent"
    result = bench.run("save", file, before=lambda: os.setuid(NOBODY),
                       preload=str(bench.tools / PLUGIN.name), **env)
    assert result.status == 0 and result.out == "destroy\n", result
    assert [path.name for path in export.iterdir()] == ["new"]
    data = (export / "new").read_bytes()
    if format_ == "v3":
        assert not result.lines, result
        assert audit.audit(str(export / "new"))[1].header.state == 2
        assert savefile.to_v2(data) == bench.stock_file()
    else:
        assert data == bench.stock_file()


def test_refused_restore_leaves_no_domain(bench, tmp_path):
    """As libxl says it, which a toolstack may then destroy."""
    file = tmp_path / "file"
    assert bench.run("save", file).status == 0
    os.truncate(file, file.stat().st_size - 1)
    result = bench.run("restore", file)
    assert result.status == 1 and result.out == "failed\n", result
