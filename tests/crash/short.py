#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The short form of kill_loop.py, for `make check`."""
import os
import runpy
import sys

sys.argv[1:] = ["--kills", "12"]
runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill_loop.py"), run_name="__main__")
