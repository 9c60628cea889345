# SPDX-License-Identifier: LGPL-2.1-or-later
"""xl-aligned listen: what a session that is taken over can still do; and who
may connect to a UNIX socket."""
import os
import re
import socket
import subprocess
import tempfile
from contextlib import contextmanager

import pytest

from commands.program import run
from commands.transport import Listener, children_of, status_of
from support import ROOT, cc, eventually

SOURCE = ROOT / "tests/fakes/intruder.c"
FATAL = re.findall(r"FATAL\((\w+)\)[,\n]", SOURCE.read_text())
REFUSED = re.findall(r"REFUSED\((\w+)\)[,\n]", SOURCE.read_text())


@pytest.fixture(scope="module")
def intruder(tools):
    return tools / "intruder.so"


@contextmanager
def taken_over(hosts, path, intruder, what, prefix=()):
    """A listener, and a session of it in which the intruder does that."""
    with Listener(hosts, f"unix:{path}", prefix=prefix,
                  LD_PRELOAD=str(intruder), INTRUDER=what) as listener:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            yield listener


def test_what_a_session_cannot_do(hosts, path, intruder):
    with taken_over(hosts, path, intruder, "refused") as listener:
        listener.wait_for("intruder: end")
    outcome = dict(re.findall(r"intruder: (\w+): (.*)", listener.log()))
    assert len(REFUSED) == 30
    assert outcome == dict.fromkeys(REFUSED, "Operation not permitted")


@pytest.mark.parametrize("what", FATAL)
def test_what_ends_a_session(hosts, path, intruder, what):
    with taken_over(hosts, path, intruder, what) as listener:
        line = listener.wait_for("(?:the session|lives on)")
        assert "tried a forbidden system call and was killed" in line
        # The others are served.
        assert listener.process.poll() is None
    assert "lives on" not in listener.log()


def test_every_other_number_is_refused(hosts, path, intruder):
    with taken_over(hosts, path, intruder, "numbers") as listener:
        listener.wait_for("intruder: [0-9]* numbers")
    # Two have some of their arguments allowed; those of -1 are not.
    assert re.findall(r"intruder: call .*", listener.log()) == []


def test_a_kernel_without_seccomp(hosts, path, tmp_path):
    """One warning; sessions have dropped everything else."""
    without = tmp_path / "without"
    cc(without, "-lseccomp", source=r'''
#include <errno.h>
#include <seccomp.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    return argc < 2 || seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS),
                                        SCMP_SYS(seccomp), 0) ||
           seccomp_load(filter) || execv(argv[1], argv + 1);
}
''')
    with Listener(hosts, f"unix:{path}", prefix=[without]) as listener:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            eventually(lambda: children_of(listener.process.pid), "none")
            pid, = children_of(listener.process.pid)
            eventually(lambda: status_of(pid)["CapEff"] == "0" * 16, "caps")
        result = hosts.migrate("dom", f"unix:{path}")
        assert result.returncode == 0, result.stderr
    warnings = re.findall(r".*seccomp.*", listener.log())
    assert len(warnings) == 1 and "Function not implemented" in warnings[0]


# ---- UNIX sockets ------------------------------------------------------------

NOBODY = 65534
CONNECT = """
import socket, sys
from model.hello import SENDER, Offer
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.sendall(Offer(SENDER, version_min=9, version_max=9).pack())
    sock.recv(1)
"""


@pytest.fixture
def public():
    """A socket that anybody may open, as systemd makes them by default."""
    with tempfile.TemporaryDirectory(prefix="socket-") as name, \
            socket.socket(socket.AF_UNIX) as sock:
        os.chmod(name, 0o711)
        sock.bind(f"{name}/socket")
        os.chmod(f"{name}/socket", 0o666)
        sock.listen()
        yield sock


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize("uid,options,let_in", [
    (NOBODY, [], False), (NOBODY, ["--allow=*"], False),
    (NOBODY, ["--allow=uid:65533", "--allow=uid:6553"], False),
    (NOBODY, ["--allow=uid:1", f"--allow=uid:{NOBODY}"], True),
    (0, [], True), (0, ["--allow=uid:65533"], True)])
def test_users_of_a_unix_socket(hosts, public, uid, options, let_in):
    prefix = ["bash", "-c", f'exec 3<&{public.fileno()}; '
              'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh"]
    with Listener(hosts, "--systemd", *options, prefix=prefix,
                  fds=[public.fileno()]) as listener:
        subprocess.run(["/usr/bin/python3", "-c", CONNECT,
                        public.getsockname()], user=uid, group=uid,
                       extra_groups=[], cwd=ROOT / "tests", check=False,
                       stderr=subprocess.DEVNULL)
        line = listener.wait_for("refused: ")
    assert f"of user {uid}: refused: " in line
    assert ("9 to 9" in line) == let_in, line
    assert ("neither root nor" in line) != let_in, line


@pytest.mark.parametrize("user", ["", "libvirt", "12 ", "-1"])
def test_users_that_are_no_numbers(hosts, path, user):
    result = run("listen", f"--allow=uid:{user}", f"unix:{path}",
                 env=hosts.env)
    assert result.returncode == 2 and "id -u" in result.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root has privileges")
@pytest.mark.parametrize("user,word", [("root", "root is root"),
                                       ("no-such", "no-such is not a user")])
def test_sessions_do_not_run_as(hosts, path, user, word):
    result = run("listen", f"--user={user}", f"unix:{path}", env=hosts.env)
    assert result.returncode == 1 and word in result.stderr
