"""The repositories for WORKSPACE, for `--noenable_bzlmod` on Bazel 7; MODULE.bazel is the main path.

```starlark
load("//rules:repositories.bzl", "modelgrid_repositories")

modelgrid_repositories()
```
"""

load("//rules/private:environment_repositories.bzl", "environment_repositories")

def modelgrid_repositories():
    """Makes what the module extension `environments` makes, under the same names."""
    environment_repositories()
