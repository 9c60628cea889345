# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of xl-aligned share: an xl without Xen, places for files,
the two ends of a migration, a xenstore."""
import os
import tempfile
from pathlib import Path

import pytest

from commands.program import FakeXl, build_empty_plugin
from commands.site import Site, Store
from commands.transport import CONTENT, Certificates, Hosts


@pytest.fixture(scope="session")
def plugin(tmp_path_factory):
    return build_empty_plugin(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def xl(tmp_path, plugin):
    return FakeXl(tmp_path / "xl", plugin)


@pytest.fixture
def folder(tmp_path):
    """Other users cannot write here."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def open_folder():
    """Other users can enter it; pytest's own are for root alone."""
    with tempfile.TemporaryDirectory(prefix="xl-aligned-") as name:
        os.chmod(name, 0o711)
        yield Path(name).resolve()


@pytest.fixture
def hosts(tmp_path, plugin):
    return Hosts(tmp_path, plugin, CONTENT)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "socket"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def site(tools, tmp_path, store):
    return Site(tools, tmp_path / "bench", store)
