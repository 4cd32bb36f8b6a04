"""The one exception for what the user can fix."""


class StageError(Exception):
    """Something the user can fix, in one line: `where: expected Y, got X[; what to do]`.

    `lethe.core.stage.run` prints it without a traceback and exits with 1. A bug raises anything else.
    """


def one_line(error: Exception) -> str:
    """What an exception says, without line breaks."""
    return " ".join(str(error).split())
