# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everything here runs on Xen hosts in QEMU (see lab/README.md).

host            a host shared by a module's tests, cleaned before each
host_pair       two such hosts, joined by a network
new_host        makes hosts with settings of the test's own
build_overlay   the tree of `make install` that all of them run with
"""

import os
import re
import sys
from pathlib import Path

import pytest

import lab
from support import BUILD, install

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.lab_failed = outcome.get_result().failed


def save_logs(request, *hosts):
    """On failure, put the hosts' logs under build/lab-logs/TEST/."""
    if not getattr(request.node, "lab_failed", False):
        return
    name = re.sub(r"[^\w.-]+", "_", request.node.nodeid)
    for host in hosts:
        place = str(BUILD / "lab-logs" / name / host.name)
        host.collect_logs(place)
        print(f"logs of {host.name}: {place}", file=sys.stderr)


def tidy(host):
    """No guests, no files, no marks of another test's guests."""
    for line in host.run("xl list").stdout.splitlines()[2:]:
        if line.strip():
            host.destroy(line.split()[1])
    host.run("cd /data && find . -mindepth 1 -maxdepth 1 "
             "! -name lost+found -exec rm -rf {} +")


@pytest.fixture(scope="session")
def build_overlay(tmp_path_factory):
    """What `make install` puts on a Xen host, as a directory tree.

    XL_ALIGNED_OVERLAY names a tree to take instead.
    """
    if os.environ.get("XL_ALIGNED_OVERLAY"):
        return os.environ["XL_ALIGNED_OVERLAY"]
    tree = tmp_path_factory.mktemp("overlay")
    install(tree)
    return str(tree)


class Shared:
    """The shared hosts: one or two, never both.

    An emulated host keeps a processor busy, and only so many may run at
    once; a test that needs others has these ended first.
    """

    def __init__(self, overlay):
        self.overlay, self._host, self._pair = overlay, None, None

    def host(self):
        if self._host is None or not self._host.alive():
            self.close()
            self._host = lab.XenHost(overlays=(self.overlay,)).start()
        return self._host

    def pair(self):
        if self._pair is None or not all(h.alive() for h in self._hosts):
            self.close()
            pair = lab.host_pair(overlays=(self.overlay,), memory=2048,
                                 dom0_mem=768)
            self._hosts = pair.__enter__()
            self._pair = pair
        return self._hosts

    def close(self):
        if self._host is not None:
            self._host.close()
        if self._pair is not None:
            self._pair.__exit__(None, None, None)
        self._host = self._pair = None


@pytest.fixture(scope="module")
def _shared(build_overlay):
    # Not longer: the next module may have hosts of its own to start.
    shared = Shared(build_overlay)
    yield shared
    shared.close()


@pytest.fixture
def host(_shared, request):
    """The shared host; booted anew if a test has killed it."""
    here = _shared.host()
    tidy(here)
    yield here
    save_logs(request, here)


lab_host = host


@pytest.fixture
def host_pair(_shared, request):
    """Two joined hosts: xen1 (10.77.0.1) and xen2 (10.77.0.2)."""
    hosts = _shared.pair()
    for here in hosts:
        tidy(here)
    yield hosts
    save_logs(request, *hosts)


@pytest.fixture
def new_host(_shared, build_overlay, request):
    """A function: new_host(dom0_mem=256, ...) boots a host."""
    _shared.close()
    hosts = []

    def make(**settings):
        settings.setdefault("overlays", (build_overlay,))
        hosts.append(lab.XenHost(**settings))
        return hosts[-1].start()

    make.adopt = hosts.append
    yield make
    save_logs(request, *hosts)
    for here in reversed(hosts):
        here.close()
