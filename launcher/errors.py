"""The one error type that the launcher shows to a person."""

# Bazel's own code for "a permanent problem of this machine".
EXIT_CODE = 36

INSTALL_BAZEL = (
    "Or install Bazelisk (https://github.com/bazelbuild/bazelisk) or Bazel 7.7.1 "
    "and put it on PATH; bazelw then uses that."
)


class LauncherError(Exception):
    """Something about this machine that its user can fix.

    The message's first line says what is wrong; the following lines say what
    to do about it.
    """
