"""How git is asked: about the folder it is asked in, and about the commits and objects that were made, and no others.

In a hook git itself sets variables that lead every call to the repository, and the index, that it works on.
"""

from __future__ import annotations

import os

LITERAL = "--literal-pathspecs"
PLAIN_GIT = (  # the objects and paths that are named, and no others; parents from the commits themselves
    *("git", "--no-replace-objects", LITERAL),
    *("-c", "core.commitGraph=false", "-c", "core.fsmonitor=false"),
)
LEADING = (  # to another repository, index or object than the folder's own
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE"),
    *("GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH"),
    *("GIT_SHALLOW_FILE", "GIT_REPLACE_REF_BASE", "GIT_NO_REPLACE_OBJECTS", "GIT_CONFIG", "GIT_EXTERNAL_DIFF"),
    *("GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS"),
)


def plain() -> dict[str, str]:
    """This process's environment, without what leads git elsewhere and without grafts, another list of parents."""
    return {name: value for name, value in os.environ.items() if name not in LEADING} | {"GIT_GRAFT_FILE": os.devnull}
