"""The one exception for what the user can fix."""


class StageError(Exception):
    """Something the user can fix, said in one line: `where: what was found, what was wanted[, the command]`.

    `lethe.core.stage.run` prints it without a traceback and exits with 1. A bug raises anything else.
    """
