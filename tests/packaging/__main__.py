"""python3 tests/packaging PACKAGE.deb [unittest's arguments]: what dpkg and systemd make of the package."""

import os
import sys
import unittest

os.environ["RTCPUB_PACKAGE"] = os.path.abspath(sys.argv.pop(1))

# These read the variable.
from hardware import Hardware  # noqa: E402, F401
from install import Installation  # noqa: E402, F401
from service import Service  # noqa: E402, F401

unittest.main(verbosity=2)
