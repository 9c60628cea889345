# SPDX-License-Identifier: LGPL-2.1-or-later
"""xl-aligned doctor on the files of migration over TLS."""
import json
import os
import shutil

import pytest

from commands.program import run
from commands.transport import Authority, openssl


@pytest.fixture(scope="module")
def issued(tmp_path_factory):
    folder = tmp_path_factory.mktemp("issued")
    own, other = Authority(folder, "own"), Authority(folder, "other")
    own.issue("host", "/CN=host.example", "DNS:host.example", days=90)
    own.issue("soon", "/CN=host.example", "DNS:host.example", days=2)
    own.issue("late", "/CN=host.example", "DNS:host.example", days=-1)
    other.issue("other", "/CN=host.example", "DNS:host.example", days=90)
    return folder


@pytest.fixture
def files(issued, tmp_path):
    """Options of doctor that name files of the test's own."""
    for name, source in (("cert", "host.pem"), ("key", "host.key"),
                         ("ca", "own.ca.pem")):
        shutil.copy(issued / source, tmp_path / name)
        os.chmod(tmp_path / name, 0o600)
    (tmp_path / "allow-file").write_text("host.example\n")
    return {name: tmp_path / name
            for name in ("cert", "key", "ca", "allow-file")}


def examine(files) -> list:
    result = run("doctor", "--json", *(f"--{name}={file}"
                                       for name, file in files.items()))
    return [(found["level"], found["text"])
            for found in json.loads(result.stdout)["findings"]
            if found["what"] == "tls"]


def only(files) -> tuple:
    found, = examine(files)
    return found


def test_good_files(files):
    level, text = only(files)
    assert level == "ok" and "CN=host.example" in text


@pytest.mark.parametrize("option", ["cert", "key", "ca", "allow-file"])
def test_missing(files, option):
    files[option].unlink()
    assert ("bad", f"{files[option]}: No such file or directory") \
        in examine(files)


@pytest.mark.parametrize("option", ["cert", "key", "ca"])
@pytest.mark.parametrize("content", ["", "junk\n", None])
def test_no_pem(files, option, content):
    if content is None:
        files[option].unlink()
        files[option].mkdir(mode=0o700)
    else:
        files[option].write_text(content)
    found = examine(files)
    assert {level for level, _ in found} == {"bad"}
    assert any(str(files[option]) in text for _, text in found)


def test_a_key_of_another(files, issued):
    shutil.copy(issued / "soon.key", files["key"])
    level, text = only(files)
    assert level == "bad" and str(files["key"]) in text


@pytest.mark.parametrize("name,level,words", [
    ("late", "bad", "certificate has expired"),
    ("other", "bad", "unable to get local issuer certificate"),
    ("soon", "note", "expires within 30 days"),
])
def test_what_peers_will_say(files, issued, name, level, words):
    shutil.copy(issued / f"{name}.pem", files["cert"])
    shutil.copy(issued / f"{name}.key", files["key"])
    found, text = only(files)
    assert found == level and words in text


@pytest.mark.parametrize("option,mode,words", [
    ("key", 0o644, "others can read it; chmod 600"),
    ("key", 0o640, "others can read it"),
    ("allow-file", 0o666, "others can write it; chmod go-w"),
    ("cert", 0o664, "others can write it"),
    ("ca", 0o602, "others can write it"),
])
def test_modes(files, option, mode, words):
    files[option].chmod(mode)
    found = [text for level, text in examine(files) if level == "bad"]
    assert len(found) == 1 and words in found[0]
    assert str(files[option]) in found[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="chown needs root")
def test_owners(files):
    os.chown(files["key"], 12345, 0)
    assert any(level == "bad" and "belongs to user 12345" in text
               for level, text in examine(files))


def lists(issued, tmp_path, until: str, *revoked: str):
    """A CRL of the authority."""
    (tmp_path / "index").write_text("")
    (tmp_path / "ca.conf").write_text(
        f"[ca]\ndefault_ca=a\n[a]\ndatabase={tmp_path}/index\n"
        "default_md=sha256\ndefault_crl_days=2\n")
    common = ("-config", tmp_path / "ca.conf", "-keyfile",
              issued / "own.ca.key", "-cert", issued / "own.ca.pem")
    for name in revoked:
        openssl("ca", *common, "-revoke", issued / f"{name}.pem")
    openssl("ca", *common, "-gencrl", "-crl_lastupdate",
            "20200101000000Z", "-crl_nextupdate", until, "-out",
            tmp_path / "crl")
    return tmp_path / "crl"


def test_revoked(files, issued, tmp_path):
    files["crl"] = lists(issued, tmp_path, "20990101000000Z")
    assert only(files)[0] == "ok"
    files["crl"] = lists(issued, tmp_path, "20990101000000Z", "host")
    level, text = only(files)
    assert level == "bad" and "certificate revoked" in text


def test_expired_list(files, issued, tmp_path):
    files["crl"] = lists(issued, tmp_path, "20200102000000Z")
    assert ("bad", "a list of revoked certificates has expired: all "
            "certificates of its issuer are refused until it is renewed") \
        in examine(files)


def test_junk_for_a_list(files, tmp_path):
    files["crl"] = tmp_path / "crl"
    files["crl"].write_text("junk")
    level, text = only(files)
    assert level == "bad" and str(files["crl"]) in text
