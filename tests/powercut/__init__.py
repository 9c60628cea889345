# SPDX-License-Identifier: LGPL-2.1-or-later
"""Power cuts: what is on a disk when the current fails during a save.

record.py   saves guests on the emulated host while every write and flush
            that reaches its disk is recorded, with marks for what happened
log.py      reads the record, and makes of it the disk as a cut may leave it:
            what was flushed, and any part of what was not
image.py    looks into such a disk
cuts.py     makes many cuts, and judges what is left of the file
restore.py  restores guests from such disks, and cuts the power for real
__main__.py the command (make powercut)
"""
