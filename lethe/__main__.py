"""`python -m lethe` is `lethe`."""

import os
import sys

if os.path.dirname(os.path.dirname(os.path.abspath(__file__))) != os.getcwd():
    sys.path[:] = [place for place in sys.path if place not in ("", os.getcwd())]  # a model's json.py would be run

from lethe.cli.main import main

main()
