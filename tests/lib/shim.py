# SPDX-License-Identifier: MIT
"""The shim of tests/scenario/shim.c: a wall clock that can be set and a disk that can be full, for the
commands started with its environment."""
import mmap
import os
import shlex
import struct
import subprocess

from genrun import ROOT


class Shim:
    def __init__(self, place):
        library, self.path = place.path("shim.so"), place.path("shim.control")
        subprocess.run(shlex.split(os.environ.get("CC") or "gcc") +
                       ["-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-O1", "-o", library,
                        os.path.join(ROOT, "tests", "scenario", "shim.c"), "-ldl"], check=True)
        with open(self.path, "wb") as f:
            f.write(struct.pack("qqq", 0, 0, 0))
        with open(self.path, "r+b") as f:
            self._map = mmap.mmap(f.fileno(), 24)
        # A sanitizer's library insists on being the first one otherwise.
        options = ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0")))
        self.env = {"LD_PRELOAD": library, "GENRUN_SHIM": self.path, "ASAN_OPTIONS": options}

    def set_clock(self, offset_s):
        """The wall clock runs so many seconds ahead."""
        self._map[0:8] = struct.pack("q", int(offset_s * 1000))

    def set_slept(self, seconds):
        """The machine was suspended for so long."""
        self._map[16:24] = struct.pack("q", int(seconds * 1000))

    def lacking(self, *words):
        """The environment for commands that find missing what the words name (the end of shim.c)."""
        return {**self.env, "GENRUN_SHIM_LACKS": ",".join(words)}

    def knowing(self, hosts):
        """The environment for commands that look names up here: {name: [addresses]}; know() changes them."""
        self.know(hosts)
        return {**self.env, "GENRUN_SHIM_HOSTS": self.path + ".hosts"}

    def know(self, hosts):
        text = "".join(" ".join([name, *addresses]) + "\n" for name, addresses in hosts.items())
        with open(self.path + ".new", "w", encoding="ascii") as f:
            f.write(text)
        os.replace(self.path + ".new", self.path + ".hosts")

    def set_full(self, full):
        """No file grows."""
        self._map[8:16] = struct.pack("q", int(full))
