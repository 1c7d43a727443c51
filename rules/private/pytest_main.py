"""Runs the test files named on the command line with pytest, as Bazel runs a test."""

import os
import site
import sys

# What the user installed beside the interpreter is no part of a test: neither its packages nor its pytest plugins.
_FOREIGN = {*site.getsitepackages(), site.getusersitepackages()}
sys.path[:] = [entry for entry in sys.path if entry not in _FOREIGN]
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"

import pytest  # noqa: E402


def main(arguments: list[str]) -> int:
    """Returns pytest's exit status for `arguments`; that no test was collected is a failure of its own (5)."""
    options = ["-p", "no:cacheprovider", "--rootdir=.", "-q", "-ra"]
    if "XML_OUTPUT_FILE" in os.environ:
        options.append(f"--junitxml={os.environ['XML_OUTPUT_FILE']}")
    if "TESTBRIDGE_TEST_ONLY" in os.environ:
        options.append(f"-k={os.environ['TESTBRIDGE_TEST_ONLY']}")
    return int(pytest.main([*options, *arguments]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
