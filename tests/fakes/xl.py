#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An xl without Xen.  It does what FAKE_XL says, and notes in FAKE_LOG, one
JSON object a line, how it was started and what happened.

FAKE_CONTENT is the file that it saves or sends.  FAKE_STATE has the rows that
`xl list` prints.  ACTIONS below are what FAKE_XL can say; "migrate" speaks
the protocol of xl migrate and xl migrate-receive.
"""
import hashlib
import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import time

ENV = os.environ
BANNER = b"xl migration receiver ready, send binary domain data.\n"
READY = b"domain received, ready to unpause\0"
GO = b"domain is yours, you are cleared to unpause\0"
REPORT = b"my copy unpause results are as follows\0"
MAGIC = b"fake domain, xl\n"


def note(**what):
    with open(ENV["FAKE_LOG"], "a") as log:
        log.write(json.dumps(what) + "\n")


def content():
    with open(ENV["FAKE_CONTENT"], "rb") as file:
        return file.read()


# ---- save ------------------------------------------------------------------


def save(partially=False):
    """As stock: nothing is committed."""
    path = sys.argv[-2 if "FAKE_CONFIG" in ENV else -1]
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    data = content()
    os.write(fd, data[:len(data) // 2] if partially else data)
    return fd


def commit(fd):
    """As the plugin does."""
    os.fsync(fd)
    os.rename(os.readlink(f"/proc/self/fd/{fd}"), ENV["XL_ALIGNED_COMMIT_NAME"])


def fail(status):
    save(partially=True)
    return int(status)


def kill(partially):
    save(partially)
    os.kill(os.getpid(), signal.SIGKILL)


def helper(_):
    """A save that only the helper's SIGTERM ends."""
    fd = save(partially=True)
    child = subprocess.Popen(
        ["/usr/bin/python3", "-c", """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("ready", flush=True)
time.sleep(60)
""", "--save-domain", str(fd)], stdout=subprocess.PIPE, pass_fds=[fd])
    child.stdout.readline()
    note(ready=os.getpid(), helper=child.pid)
    note(helper_status=child.wait(), resumed=True)
    print("Failed to save domain, resuming domain", file=sys.stderr)
    return 1


def late(_):
    """A signal that comes now finds no helper."""
    fd = save()
    note(ready=os.getpid())
    time.sleep(1)
    commit(fd)


def outlive(_):
    """Goes on for two seconds, whatever becomes of xl-aligned."""
    fd = save(partially=True)
    note(ready=os.getpid())
    time.sleep(2)
    os.pwrite(fd, content(), 0)
    note(destroyed=True)


def swap(target):
    """Another process replaces FILE.partial during the save."""
    partial = ENV["XL_ALIGNED_COMMIT_NAME"] + ".partial"
    os.unlink(partial)
    os.symlink(target, partial)
    save()


# ---- restore and dump-core -------------------------------------------------


def restore_helper(_):
    """A restore whose helper waits for SIGTERM."""
    child = subprocess.Popen(["/usr/bin/python3", "-c",
                              "import time; time.sleep(60)",
                              "--restore-domain"])
    note(ready=os.getpid())
    child.wait()
    print("libxl destroys it", file=sys.stderr)
    return 1


def wait(_):
    note(ready=os.getpid())
    time.sleep(60)


# ---- progress --------------------------------------------------------------


def show(written, last_phase):
    """104 of 200 MiB in 1.3 seconds, if xl-aligned wants to know."""
    page = bytearray(4096)
    if "XL_ALIGNED_PROGRESS" in ENV:
        with open(ENV["XL_ALIGNED_PROGRESS"], "r+b") as file:
            page = mmap.mmap(file.fileno(), 4096)
    for i in range(1, 14):
        struct.pack_into("<IxxxxQQQ", page, 8, 1, 200 << 20, i * 8 << 20,
                         i * written << 20)
        time.sleep(0.1)
    struct.pack_into("<I", page, 8, last_phase)


def show_save():
    print("Saving to somewhere", file=sys.stderr)
    print("xc: progress: Frames: 512/1024 50%", file=sys.stderr)
    show(4, 2)
    print("a line without an end", end="", file=sys.stderr, flush=True)
    time.sleep(0.5)


def show_read():
    print("Parsing config from <saved>", flush=True)
    print("Loading new save file", file=sys.stderr, flush=True)
    show(0, 3)
    time.sleep(0.5)


# ---- migrate ---------------------------------------------------------------


def read(fd, length):
    data = b""
    while len(data) < length:
        more = os.read(fd, length - len(data))
        if not more:
            return data
        data += more
    return data


def write(fd, data):
    while data:
        data = data[os.write(fd, data):]


def expect(fd, text):
    got = read(fd, len(text))
    if got != text:
        note(unexpected=repr(got), instead_of=repr(text))
    return got == text


def resume(child, send):
    os.close(send)
    note(resumed=True)
    child.wait()
    sys.exit(1)


def connect(words):
    """Starts xl migrate-receive on the other host; (process, to, from)."""
    ssh, options, operands = "ssh", "", []
    while words:
        word = words.pop(0)
        if word == "-s":
            ssh = words.pop(0)
        elif word in ("-e", "-p", "--debug"):
            options += " " + {"--debug": "-d"}.get(word, word)
        else:
            operands.append(word)
    _, host = operands
    rune = f"exec {ssh} {host} xl migrate-receive{options}"
    send_r, send_w = os.pipe()
    recv_r, recv_w = os.pipe()
    child = subprocess.Popen(["sh", "-c", rune], stdin=send_r,
                             stdout=recv_w)
    os.close(send_r)
    os.close(recv_w)
    note(started=os.getpid(), transport=child.pid)
    return child, send_w, recv_r


def note_negotiated():
    line = features = None
    if path := ENV.get("XL_ALIGNED_NEGOTIATED"):
        with open(path, "rb") as board:
            line = board.readline(64).decode()
            features = board.readline(64).decode()
    note(negotiated=line, live=ENV.get("XL_ALIGNED_LIVE"),
         features=features, compress=ENV.get("XL_ALIGNED_COMPRESS"))
    if ENV.get("FAKE_PASSES"):
        # What plugin and helper do: struct handoff_board, struct handoff.
        with open(path, "r+b") as board:
            board.seek(128)
            board.write(b"suspended=%d\n\0" % (time.monotonic() * 1000))
        passes = json.loads(ENV["FAKE_PASSES"])
        with open(ENV["XL_ALIGNED_PROGRESS"], "r+b") as page:
            page.seek(40)
            page.write(struct.pack(f"<Q{len(passes)}Q", len(passes),
                                   *passes))


def send(to):
    data = content()
    write(to, MAGIC + struct.pack("<Q", len(data)))
    if pause := ENV.get("FAKE_PAUSE"):
        write(to, data[:len(data) // 2])
        note(paused=True)
        while os.path.exists(pause):
            time.sleep(0.02)
        data = data[len(data) // 2:]
    if ENV.get("FAKE_FAIL") == "send":
        note(gives_up=True)
        return False
    write(to, data)
    return True


def migrate(words):
    child, to, from_ = connect(words)
    if not expect(from_, BANNER):
        resume(child, to)
    note_negotiated()
    haste = ENV.get("FAKE_HASTE")
    time.sleep(0.1 if haste else 0)
    try:
        if not send(to) or not expect(from_, READY):
            resume(child, to)
        write(to, GO)
    except OSError as error:
        note(error=str(error))
        resume(child, to)
    if not expect(from_, REPORT) or read(from_, 1) != b"\0":
        note(undefined=True)
        sys.exit(1)
    note(destroyed=True)
    if haste:
        # The real one does not wait for what it has started.
        os.kill(child.pid, signal.SIGKILL)
        os._exit(0)
    os.close(to)
    note(transport_status=child.wait())


def migrate_receive(words):
    note(receiving=os.getpid(), options=words, uid=os.getuid(),
         preload=ENV.get("LD_PRELOAD", ""))
    write(1, BANNER)
    head = read(0, len(MAGIC) + 8)
    if head[:len(MAGIC)] != MAGIC or len(head) != len(MAGIC) + 8:
        note(bad_head=repr(head))
        sys.exit(1)
    left, digest = struct.unpack("<Q", head[-8:])[0], hashlib.sha256()
    while left:
        data = os.read(0, min(left, 1 << 20))
        if not data:
            note(cut=left)
            sys.exit(1)
        digest.update(data)
        left -= len(data)
        if ENV.get("FAKE_FAIL") == "receive":
            note(gives_up=True)
            sys.exit(3)
    write(1, READY)
    if not expect(0, GO):
        sys.exit(1)
    note(running=digest.hexdigest())
    write(1, REPORT + b"\0")


def either_end(_):
    words = sys.argv[1:]
    while words[0][:2] in ("-t", "-v", "-T"):
        words.pop(0)
    return {"migrate": migrate,
            "migrate-receive": migrate_receive}[words[0]](words[1:])


# ---- all of it -------------------------------------------------------------


# "NAME" or "NAME:ARGUMENT"; the exit status is 0 if it is not a number.
ACTIONS = {
    "": lambda _: None,
    "exit": int,
    "save": lambda _: save() and None,
    "commit": lambda _: commit(save()),
    "fail": fail,
    "kill": lambda _: kill(True),
    "kill-whole": lambda _: kill(False),
    "helper": helper,
    "late": late,
    "outlive": outlive,
    "swap": swap,
    "restore-helper": restore_helper,
    "wait": wait,
    "migrate": either_end,
}
# "NAME:ACTION": before the action.
FIRST = {"show-save": show_save, "show-read": show_read}


def main():
    if sys.argv[1:2] == ["list"] and "FAKE_STATE" in ENV:
        with open(ENV["FAKE_STATE"]) as file:
            rows = file.read()
        print("Name                       ID   Mem VCPUs\tState\tTime(s)\n"
              f"{rows}", end="")
        return None
    umask = os.umask(0)
    os.umask(umask)
    note(argv=sys.argv, umask=umask, pid=os.getpid(), pgrp=os.getpgrp(),
         env={k: v for k, v in ENV.items()
              if k.startswith("XL_ALIGNED") or k == "LD_PRELOAD"})
    action, _, argument = ENV.get("FAKE_XL", "").partition(":")
    if action in FIRST:
        FIRST[action]()
        action, _, argument = argument.partition(":")
    return ACTIONS[action](argument)


sys.exit(main())
