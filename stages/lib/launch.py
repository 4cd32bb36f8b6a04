"""`accelerate launch` of a stage, by which Ctrl-C ends with the stage's own line instead of the launcher's traceback.

python -m stages.lib.launch stages.finetune
"""

from __future__ import annotations

import os
import signal
import sys

INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended


def main() -> None:
    """Start the module as `accelerate config` says. Errors of the stage and of the launcher come through."""
    os.environ.setdefault("ACCELERATE_LOG_LEVEL", "ERROR")  # its warnings about what nobody configured
    sys.argv = ["accelerate launch", "--quiet", "-m", *sys.argv[1:]]
    try:
        from accelerate.commands.launch import main as launch

        launch()
    except BaseException as error:
        if not by_ctrl_c(error):
            raise
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stage had it too, and is to say its last word in peace
        wait_for_children()
        sys.exit(INTERRUPTED)


def by_ctrl_c(error: BaseException) -> bool:
    """Whether the launcher was interrupted; that of several processes has an exception of its own for it."""
    several = type(error).__name__ == "SignalException" and getattr(error, "sigval", None) == signal.SIGINT
    return isinstance(error, KeyboardInterrupt) or several


def wait_for_children() -> None:
    """Wait until every process that this one started has ended."""
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    main()
