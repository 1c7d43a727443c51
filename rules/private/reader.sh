#!/bin/sh
# The test of a cell: reads the verdict that the build made, shows its log, and hands its test cases to Bazel.
# Under `bazel run` it runs the checks live instead, with the user's arguments for pytest.
set -eu

if [ -n "${BUILD_WORKSPACE_DIRECTORY:-}" ]; then
  # The exec root is what lies above bazel-out on the way to this script's runfiles.
  cd "${PWD%%/bazel-out/*}"
  # Word splitting is meant: the variable is a command line of paths that Bazel made, none with a space.
  exec ${MODELGRID_LIVE} "$@"
fi

cell="${TEST_SRCDIR}/${TEST_WORKSPACE}/${MODELGRID_CELL}"
cat "${cell}.log.txt"
if [ -n "${XML_OUTPUT_FILE:-}" ]; then
  cp "${cell}.junit.xml" "${XML_OUTPUT_FILE}"
fi
# The status stands on a line of its own in the canonical form of a verdict.
status=$(sed -n 's/^  "status": "\([a-z_]*\)",\{0,1\}$/\1/p' "${cell}.verdict.json")
case "${status}" in
  passed | expected_failure) exit 0 ;;
  failed | flaky | unexpected_pass) exit 1 ;;
  *)
    echo "${cell}.verdict.json: no status in it; rebuild it with this checkout's harness" >&2
    exit 2
    ;;
esac
