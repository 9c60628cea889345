# SPDX-License-Identifier: LGPL-2.1-or-later
"""What several modules do with a guest and ask of it."""
import time


def keeps_running(host, name: str) -> None:
    """Its memory is right, by a verdict given after now."""
    host.mark(name)
    host.wait_verdict(name)


def cancelled_save(host, name: str, file: str) -> None:
    """A save on a disk that takes longer than it takes to cancel."""
    host.monitor("block_set_io_throttle d0 0 0 4000000 0 0 0")
    try:
        job = host.popen(f"exec xl-aligned save {name} {file}")
        deadline = time.monotonic() + 60
        while "Frames: " not in job.output().stderr:
            assert time.monotonic() < deadline, job.output()
            time.sleep(0.05)
        host.run(f"xl-aligned cancel {name}")
    finally:
        host.monitor("block_set_io_throttle d0 0 0 0 0 0 0")
    assert job.wait(60, check=False).status != 0
