# SPDX-License-Identifier: LGPL-2.1-or-later
"""A block device that loses what is written: no command says it is there.

Its disk is a file on a filesystem that is too small for it: everything fits
into the page cache of the device, and fails when it is written back.
"""
import pytest

from commands.cores import large
from commands.program import PROGRAM, in_own_mounts

SCRIPT = """mount -t tmpfs -o size=4m none /mnt
truncate -s 64M /mnt/disk
device=$(/sbin/losetup -f --show /mnt/disk) || exit 77
trap '/sbin/losetup -d $device' EXIT
eval "$3"
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """32 MiB of pages that are not zero, from pfn 0x1000 on."""
    return large(tmp_path_factory.mktemp("saved"))[1].path


@pytest.mark.parametrize("command", (
    '"$1" to-core --io=direct "$2" $device',
    '"$1" to-core --io=window "$2" $device',
    '"$1" to-core --io=buffered "$2" $device',
    '"$1" to-core "$2" /dev/stdout >$device',
    '"$1" page --output=$device "$2" 0x1000-0x2fff',
    '"$1" page --output=- "$2" 0x1000-0x2fff >$device',
    '"$1" convert --to=v2 "$2" $device',
    '"$1" convert --to=v2 "$2" - >$device'))
def test_a_lost_write_is_a_failure(saved, command):
    done = in_own_mounts(SCRIPT, PROGRAM, saved, command)
    if done.returncode == 77:
        pytest.skip(done.stderr)
    assert done.returncode == 1, done
    assert ("Input/output error" in done.stderr or
            "No space left" in done.stderr), done
    assert done.stderr.count("\n") == 1, done
