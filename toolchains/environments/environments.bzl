"""The one table of environments.

A new one is a row here and a folder beside this file: its `requirements.in`, and one lock for each interpreter and
platform, which `bazel run //toolchains/environments:relock -- NAME` writes.
"""

def _environment(*, transformers):
    """Returns one row of the table.

    Args:
      transformers: whether it holds transformers, which then is a repository of its own beside the frozen wheels.
    """
    return struct(transformers = transformers)

ENVIRONMENTS = {
    "tools": _environment(transformers = False),
    "transformers-5.23": _environment(transformers = True),
}
