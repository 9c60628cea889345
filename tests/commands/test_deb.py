# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Debian packages: built, looked at, installed, removed, purged."""
import gzip
import os
import re
import shutil
import subprocess

import pytest

from support import ROOT


CONFIG, SERVICES = "etc/xen/xl-aligned.conf", "etc/default/xl-aligned"
# The user that sessions run as stays: what it owned must not become another's.
USERS = {f"etc/{name}" for name in
         (".pwd.lock", "passwd", "group", "shadow", "gshadow")}
# `make check` is a make of its own, whose flags are inherited.
UNITS = subprocess.run(["make", "-s", "--no-print-directory", "-f",
                        "debian/rules", "print-unitdir"],
                       cwd=ROOT, check=True, text=True,
                       capture_output=True).stdout.strip().lstrip("/")
DROP_INS = {f"{UNITS}/{name}.service.d/xl-aligned.conf"
            for name in ("xendomains", "libvirtd", "virtxend")}


def tool(*command, **options):
    result = subprocess.run([str(word) for word in command], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            **options)
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_the_tools_are_named(tmp_path):
    """Without them, `make deb` says which packages to install."""
    shell = shutil.which("sh")
    (tmp_path / "dh").touch(mode=0o755)
    result = subprocess.run([shell, ROOT / "debian/check-tools"], text=True,
                            env={"PATH": str(tmp_path)}, cwd="/",
                            capture_output=True)
    assert result.returncode == 1
    assert result.stderr.endswith("--no-install-recommends dpkg-dev "
                                  "lintian\n")


def test_versions_agree():
    makefile = (ROOT / "Makefile").read_text()
    version = re.search(r"^VERSION := (\S+)$", makefile, re.M)[1]
    changelog = (ROOT / "debian/changelog").read_text()
    assert changelog.startswith(f"xl-aligned ({version}-")
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_lintian_has_nothing_to_say(packages):
    for path in packages.values():
        assert tool("lintian", "--allow-root", "--fail-on=error,warning",
                    path) == ""


def contents(path) -> set:
    listing = tool("dpkg-deb", "--contents", path)
    return {line.split()[5].removeprefix("./")
            for line in listing.splitlines() if not line.startswith("d")}


def test_every_file_has_its_package(packages):
    command = contents(packages["xl-aligned"])
    assert {CONFIG, SERVICES, "usr/bin/xl-aligned",
            *(f"usr/share/man/man{page.suffix[1:]}/{page.name}.gz"
              for page in ROOT.glob("docs/man/*"))} | DROP_INS <= command
    libraries = contents(packages["libxl-aligned0"])
    names = {os.path.basename(name) for name in libraries}
    assert {"libxl-aligned.so.0", "libxensave.so.0",
            "libxl-aligned-stream.so"} <= names
    development = contents(packages["libxl-aligned-dev"])
    assert {"usr/include/libxl-aligned.h", "usr/include/xensave.h",
            "usr/include/xensave-format.h"} <= development
    assert not command & libraries
    assert not any(name.endswith((".h", ".a")) for name in libraries)


def test_the_command_finds_its_plugin(packages):
    """The path that is built in is the one where the library is."""
    library, = (name for name in contents(packages["libxl-aligned0"])
                if name.endswith("/libxl-aligned.so.0"))
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile",
                           packages["xl-aligned"]], check=True,
                          stdout=subprocess.PIPE).stdout
    assert f"/{library}\0".encode() in data


def test_the_user_of_sessions(packages, tmp_path):
    """Created with the package, not root, without a login."""
    name = "usr/lib/sysusers.d/xl-aligned.conf"
    assert name in contents(packages["xl-aligned"])
    tool("dpkg-deb", "--raw-extract", packages["xl-aligned"], tmp_path)
    assert f"systemd-sysusers {os.path.basename(name)}" in \
        (tmp_path / "DEBIAN/postinst").read_text().replace(
            "${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} ", "")
    if not shutil.which("systemd-sysusers"):
        return
    tool("systemd-sysusers", f"--root={tmp_path}", tmp_path / name)
    line, = (line for line in
             (tmp_path / "etc/passwd").read_text().splitlines()
             if line.startswith("xl-aligned:"))
    assert line.split(":")[2] != "0" and line.endswith("/nologin")


def test_the_man_page_names_the_plugin(packages, tmp_path):
    tool("dpkg-deb", "--extract", packages["xl-aligned"], tmp_path)
    page = tmp_path / "usr/share/man/man8/xl-aligned.8.gz"
    named = set(re.findall(r"/\S*/libxl-aligned\.so\.0",
                           gzip.decompress(page.read_bytes()).decode()))
    library, = (name for name in contents(packages["libxl-aligned0"])
                if name.endswith("/libxl-aligned.so.0"))
    assert named == {f"/{library}"}


def test_services_would_have_the_library(packages, tmp_path):
    """The line in /etc/default names it; systemd takes the drop-ins."""
    tool("dpkg-deb", "--extract", packages["xl-aligned"], tmp_path)
    text = (tmp_path / SERVICES).read_text()
    library, = re.findall(r"^#LD_PRELOAD=/(.*)$", text, re.M)
    assert library in contents(packages["libxl-aligned0"])
    assert not re.search(r"^[^#\n]", text, re.M), "nothing by itself"
    for name in DROP_INS:
        assert f"EnvironmentFile=-/{SERVICES}\n" in \
            (tmp_path / name).read_text()
    if not shutil.which("systemd-analyze"):
        return
    units = tmp_path / UNITS
    service = units / "xendomains.service"
    service.write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    assert tool("systemd-analyze", "verify", "--man=no", service,
                env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"}) == ""


def dpkg(root, *arguments):
    return tool("dpkg", f"--root={root}", "--force-depends",
                "--force-script-chrootless", *arguments)


def files(root) -> set:
    return {os.path.relpath(os.path.join(place, name), root)
            for place, _, names in os.walk(root) for name in names
            if not os.path.relpath(place, root).startswith("var/l")}


@pytest.mark.skipif(os.geteuid() != 0, reason="dpkg needs root")
def test_install_remove_purge(packages, tmp_path):
    for directory in ("info", "updates"):
        (tmp_path / "var/lib/dpkg" / directory).mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").touch()
    (tmp_path / "var/log").mkdir()
    dpkg(tmp_path, "--install", packages["libxl-aligned0"],
         packages["xl-aligned"])
    assert "usr/bin/xl-aligned" in files(tmp_path)
    config = tmp_path / CONFIG
    for name in (CONFIG, SERVICES):
        settings = [line for line in
                    (tmp_path / name).read_text().splitlines()
                    if line and not line.startswith("#")]
        assert settings == [], "an installation changes nothing"

    # What an administrator has written survives, until it is purged.
    config.write_text('format = "compat"\n')
    dpkg(tmp_path, "--remove", "xl-aligned", "libxl-aligned0")
    assert files(tmp_path) == {CONFIG, SERVICES} | USERS
    assert config.read_text() == 'format = "compat"\n'
    dpkg(tmp_path, "--purge", "xl-aligned", "libxl-aligned0")
    assert files(tmp_path) == USERS
    for name in USERS - {"etc/.pwd.lock"}:
        assert [line.split(":")[0] for line in
                (tmp_path / name).read_text().splitlines()] == ["xl-aligned"]
