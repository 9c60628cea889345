# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures that give a test real Xen hosts (see lab/README.md).

host            one shared host, cleaned before each test
host_pair       two shared hosts, joined by a network
new_host        makes hosts with settings of the test's own
build_overlay   the tree of `make install` that all of them run with
"""

import os
import re
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(HERE)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

import lab  # noqa: E402

LAB_FIXTURES = {"lab_host", "host", "lab_pair", "host_pair", "new_host"}


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "lab: boots a Xen host in QEMU; takes its time")


def pytest_collection_modifyitems(items):
    for item in items:
        if LAB_FIXTURES & set(getattr(item, "fixturenames", ())):
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
        place = os.path.join(TREE, "build", "lab-logs", name, host.name)
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
    done = subprocess.run(
        ["make", "-s", "-C", TREE, "install", f"DESTDIR={tree}",
         "PREFIX=/usr"], text=True, capture_output=True)
    if done.returncode:
        pytest.fail(f"make install: {done.stdout}{done.stderr}",
                    pytrace=False)
    return str(tree)


@pytest.fixture(scope="session")
def _lab_host(build_overlay):
    box = [None]

    def current():
        if box[0] is None or not box[0].alive():
            if box[0] is not None:
                box[0].close()
            box[0] = lab.XenHost(overlays=(build_overlay,)).start()
        return box[0]

    yield current
    if box[0] is not None:
        box[0].close()


@pytest.fixture
def host(_lab_host, request):
    """The shared host; booted anew if a test has killed it."""
    here = _lab_host()
    tidy(here)
    yield here
    save_logs(request, here)


lab_host = host


@pytest.fixture(scope="session")
def lab_pair(build_overlay):
    with lab.host_pair(overlays=(build_overlay,), memory=2048,
                       dom0_mem=768) as hosts:
        yield hosts


@pytest.fixture
def host_pair(lab_pair, request):
    """Two joined hosts: xen1 (10.77.0.1) and xen2 (10.77.0.2)."""
    for here in lab_pair:
        tidy(here)
    yield lab_pair
    save_logs(request, *lab_pair)


@pytest.fixture
def new_host(build_overlay, request):
    """A function: new_host(dom0_mem=256, ...) boots a host."""
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
