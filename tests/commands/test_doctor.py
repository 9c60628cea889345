# SPDX-License-Identifier: LGPL-2.1-or-later
"""xl-aligned doctor, with a toolstack of the test's own."""
import json
import os
import subprocess

import pytest

from commands.program import PROGRAM, run
from support import XEN, BUILD, ROOT, cc

PLUGIN = BUILD / "libxl-aligned.so.0"

# What of Xen's libraries is called across them.
SOURCES = {
    f"libxenctrl.so.{XEN}": (
        "int read_exact(void){return 0;} int write_exact(void){return 0;}"
        "int writev_exact(void){return 0;}"
        "int xc_domain_dumpcore(void){return 0;}", ()),
    f"libxenguest.so.{XEN}": (
        "int read_exact(void), write_exact(void), writev_exact(void);"
        "int xc_domain_save(void){return read_exact()+write_exact()"
        "+writev_exact();}", (f"libxenctrl.so.{XEN}",)),
    f"libxenlight.so.{XEN}": (
        "int xc_domain_dumpcore(void); int execvp(const char*,char*const*);"
        "int libxl_domain_suspend(void){return execvp(\"\",0);}"
        "int libxl_domain_create_restore(void){return 0;}"
        "int libxl_domain_core_dump(void){return xc_domain_dumpcore();}",
        (f"libxenctrl.so.{XEN}",)),
    "xl": (
        "int libxl_domain_suspend(void), libxl_domain_create_restore(void),"
        "libxl_domain_core_dump(void);"
        "int main(void){return libxl_domain_suspend()"
        "+libxl_domain_create_restore()+libxl_domain_core_dump();}",
        (f"libxenlight.so.{XEN}", f"libxenctrl.so.{XEN}")),
    "libxl-save-helper": (
        "int xc_domain_save(void); int main(void){return xc_domain_save();}",
        (f"libxenguest.so.{XEN}", f"libxenctrl.so.{XEN}")),
}


@pytest.fixture(scope="module")
def toolstack(tmp_path_factory):
    """A directory with an xl, a save helper and their libraries."""
    place = tmp_path_factory.mktemp("toolstack")
    for name, (source, libraries) in SOURCES.items():
        shared = ["-shared", "-fPIC", f"-Wl,-soname,{name}"] \
            if name.startswith("lib") and ".so" in name else []
        cc(place / name, "-w", *shared, "-Wl,--no-as-needed",
           f"-Wl,-rpath,{place}", f"-Wl,-rpath-link,{place}", f"-L{place}",
           *(f"-l:{library}" for library in libraries), source=source)
    return place


def examine(toolstack, *arguments, plugin=PLUGIN, **env):
    result = run("doctor", "--json", *arguments,
                 env={"XL_ALIGNED_XL": str(toolstack / "xl"),
                      "XL_ALIGNED_PLUGIN": str(plugin), **env})
    assert result.stderr == ""
    found = json.loads(result.stdout)
    bad = [f for f in found["findings"] if f["level"] == "bad"]
    assert result.returncode == (1 if bad else 0)
    assert found["healthy"] == (not bad)
    return found


def levels(found, what):
    return [f["level"] for f in found["findings"] if f["what"] == what]


def text(found, what):
    return " ".join(f["text"] for f in found["findings"]
                    if f["what"] == what)


def test_every_hook_binds(toolstack, tmp_path):
    found = examine(toolstack, tmp_path)
    assert levels(found, "plugin") == levels(found, "helper") == ["ok"]
    for name in ("libxl_domain_suspend", "libxl_domain_create_restore",
                 "xc_domain_dumpcore", "execvp"):
        assert name in text(found, "plugin")
    for name in ("read_exact", "write_exact", "writev_exact"):
        assert name in text(found, "helper")
    assert text(found, "libxl") == f"of Xen {XEN}"
    assert levels(found, "monitor") == ["note"]
    assert "save -c" in text(found, "monitor")
    assert os.listdir(tmp_path) == []


def test_a_plugin_that_does_not_bind(toolstack, tmp_path):
    """One of nothing but its name."""
    plugin = tmp_path / "libxl-aligned.so.0"
    cc(plugin, "-shared", source="")
    found = examine(toolstack, BUILD, plugin=plugin)
    assert levels(found, "plugin") == ["bad"]
    assert "is not the plugin's" in text(found, "plugin")
    assert levels(found, "helper") == ["bad"]
    assert "falls back to plain xl" in found["outlook"]


def test_missing_pieces(toolstack, tmp_path):
    found = examine(toolstack, BUILD, plugin=tmp_path / "none.so")
    assert levels(found, "plugin") == ["bad"]
    static = tmp_path / "static"
    cc(static, "-static", source="int main(void){return 0;}")
    found = examine(toolstack, BUILD, XL_ALIGNED_XL=str(static))
    assert levels(found, "plugin") == ["bad"]
    assert levels(found, "libxl") == ["bad"]
    assert "static" in text(found, "plugin")


def test_direct_io_is_said_as_it_is(toolstack):
    """build/ is where O_DIRECT works if it does anywhere."""
    found = examine(toolstack, BUILD)
    fd = os.open(BUILD, os.O_TMPFILE | os.O_RDWR)
    try:
        reopened = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_DIRECT)
        os.close(reopened)
        assert text(found, "writing").startswith("direct, through ")
    except OSError:
        assert "refused" in text(found, "writing")
    finally:
        os.close(fd)


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no tmpfs")
def test_where_direct_io_is_refused(toolstack):
    found = examine(toolstack, "/dev/shm", XL_ALIGNED_IO="window")
    assert levels(found, "writing") == ["note"]
    assert "through the page cache" in text(found, "writing")
    assert "tmpfs" in text(found, "space")


def test_the_engine_is_the_one_of_the_settings(toolstack):
    found = examine(toolstack, BUILD, XL_ALIGNED_ENGINE="thread")
    assert "through thread" in text(found, "writing")


def test_no_such_directory(toolstack, tmp_path):
    found = examine(toolstack, tmp_path / "none")
    assert levels(found, "directory") == ["bad"]
    assert "No such file" in text(found, "directory")


@pytest.mark.parametrize("content,level,words", [
    ("", ["ok"], "read"),
    ('format = "compat"\n# io="x"\n', ["ok", "note"], "format is compat"),
    ("io='window'", ["ok", "note"], "io is window"),
    ("reserve = 0\n", ["ok", "note"], "reserve is no"),
    ('compress = "zstd:3"\n', ["ok", "note"], "compress is zstd"),
    ('colour = "red"\n', ["note", "ok"], "colour is not a setting"),
    ('io = "fast"\n', ["bad"], 'io: "fast" is not one of auto, direct'),
    ('io = "auto direct"\n', ["bad"], "is not one of"),
    ("io = auto\n", ["bad"], ":1: config parsing error near `auto'"),
    ("\n\nio\n", ["bad"], ":2: config parsing error"),
    ('format = "v3\n', ["bad"], ":1: config parsing error"),
    ('format = "v3" junk\n', ["bad"], ":1: config parsing error near `junk'"),
    ('format = ["v3"]\n', ["bad"], "format: not a string"),
    ('format = "v2"\ncompress = "lz4"\n', ["bad"], "requires format v3"),
    ('format = "v3\0"\n', ["bad"], "contains a NUL"),
])
def test_settings(toolstack, tmp_path, content, level, words):
    """As the plugin has them: it is the plugin's parser."""
    config = tmp_path / "conf"
    config.write_text(content)
    found = examine(toolstack, BUILD, XL_ALIGNED_CONFIG=str(config))
    assert levels(found, "config") == level
    assert words in text(found, "config")


def test_settings_in_no_file(toolstack, tmp_path):
    for config, words in ((tmp_path, "Is a directory"),
                          (tmp_path / "none", "No such file"),
                          ("/proc/self/mem", "error")):
        found = examine(toolstack, BUILD, XL_ALIGNED_CONFIG=str(config))
        assert levels(found, "config") == ["bad"]
        assert str(config) in text(found, "config")
        assert words in text(found, "config")
    (tmp_path / "large").write_text("#" * (1 << 20) + "\n")
    found = examine(toolstack, BUILD,
                    XL_ALIGNED_CONFIG=str(tmp_path / "large"))
    assert "larger than 1 MiB" in text(found, "config")
    os.mkfifo(tmp_path / "fifo")
    examine(toolstack, BUILD, XL_ALIGNED_CONFIG=str(tmp_path / "fifo"))
    found = examine(toolstack, BUILD, XL_ALIGNED_FORMAT="v4")
    assert levels(found, "config") == ["bad"]
    assert "XL_ALIGNED_FORMAT" in text(found, "config")


def examine_services(toolstack, tmp_path, content) -> list:
    """With an /etc/default of the test's own, if `content` is not None."""
    default = tmp_path / "default"
    default.mkdir(exist_ok=True)
    if content is not None:
        (default / "xl-aligned").write_text(content)
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c",
         'mount --bind "$1" /etc/default && exec "$2" doctor --json "$3"',
         "sh", default, PROGRAM, BUILD], text=True, capture_output=True,
        env={**os.environ, "XL_ALIGNED_XL": str(toolstack / "xl"),
             "XL_ALIGNED_PLUGIN": str(PLUGIN)})
    assert result.stderr == ""
    return [(f["level"], f["text"]) for f in
            json.loads(result.stdout)["findings"] if f["what"] == "services"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("content,level,words", [
    (None, "note", "bypass the plugin; see"),
    ("#LD_PRELOAD=/usr/lib/libxl-aligned.so.0\n", "note",
     "bypass the plugin; see"),
    (f"LD_PRELOAD={PLUGIN}\n", "ok", "use the plugin"),
    (f' LD_PRELOAD="/other.so {PLUGIN}"\n', "ok", "use the plugin"),
    ("LD_PRELOAD=/none/libxl-aligned.so.0\n", "bad", "/none/libxl-aligned"),
    (f"LD_PRELOAD={PLUGIN}\nLD_PRELOAD=/other.so\n", "note",
     "another library"),
])
def test_services(toolstack, tmp_path, content, level, words):
    (found, text), = examine_services(toolstack, tmp_path, content)
    assert found == level and words in text


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("preload,wanted,level,words", [
    ("", True, "note", "without the plugin"),
    (str(PLUGIN), True, "ok", "with the plugin"),
    (str(PLUGIN), False, "ok", "until it is restarted"),
    ("", False, None, None),
])
def test_daemons(toolstack, tmp_path, preload, wanted, level, words):
    """One of libvirt's name, that runs."""
    daemon = tmp_path / "virtxend"
    cc(daemon, source="#include <unistd.h>\n#include <stdio.h>\n"
       "int main(void){puts(\"up\");fflush(stdout);return pause();}")
    process = subprocess.Popen([daemon], stdout=subprocess.PIPE,
                               env={"LD_PRELOAD": preload})
    try:
        process.stdout.readline()
        found = examine_services(
            toolstack, tmp_path, f"LD_PRELOAD={PLUGIN}\n" if wanted else "")
    finally:
        process.kill()
        process.communicate()
    assert [entry[0] for entry in found[1:]] == ([level] if level else [])
    if level:
        assert words in found[1][1]
        assert f"(process {process.pid})" in found[1][1]


def test_the_example_is_understood(toolstack):
    """With every setting of it in force."""
    example = (ROOT / "docs/xl-aligned.conf.example").read_text()
    config = BUILD / "example.conf"
    config.write_text("\n".join(
        line[1:] if '="' in line.replace(" ", "") else line
        for line in example.splitlines()) + "\n")
    try:
        found = examine(toolstack, BUILD, XL_ALIGNED_CONFIG=str(config))
    finally:
        config.unlink()
    assert levels(found, "config") == ["ok"]


def test_for_people(toolstack):
    result = run("doctor", BUILD,
                 env={"XL_ALIGNED_XL": str(toolstack / "xl"),
                      "XL_ALIGNED_PLUGIN": str(PLUGIN)})
    lines = result.stdout.splitlines()
    assert lines[-2] == "" and lines[-1].startswith(f"A save to {BUILD} ")
    for line in lines[:-2]:
        assert line[12:16].strip() in ("ok", "note", "BAD")
