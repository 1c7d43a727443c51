"""`pytest_test`: our own Python tests, on the interpreter and the locked packages that the cells use."""

load("@rules_python//python:defs.bzl", "py_test")

def pytest_test(name, srcs, deps = [], data = [], environment = "tools", size = "medium", **kwargs):
    """Runs test files with pytest, each test as a case of its own in Bazel's results.

    Args:
      name: name of the test.
      srcs: test files, `*_test.py`.
      deps: Python libraries that they import.
      data: files that they read.
      environment: the locked packages that they need: `tools` (no torch) or an environment of the cells.
      size: as of any test.
      **kwargs: passed to `py_test`.
    """
    py_test(
        name = name,
        srcs = srcs + ["//rules/private:pytest_main.py"],
        args = ["$(rootpath {})".format(src) for src in srcs],
        data = data,
        # Tests of the harness and the report import them as packages of the workspace.
        imports = ["/".join([".."] * len(native.package_name().split("/")))],
        legacy_create_init = False,
        main = "//rules/private:pytest_main.py",
        size = size,
        deps = deps + ["@modelgrid_environments//{}:packages".format(environment)],
        **kwargs
    )
