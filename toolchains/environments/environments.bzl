"""The one table of environments.

A new one is a row here and a folder beside this file: its `requirements.in`, and one lock for each interpreter and
platform, which `bazel run //toolchains/environments:relock -- NAME` writes. docs/add-an-environment.md has more.
"""

def _environment(*, transformers, folders = [], shares = "", without = [], headers_of = ""):
    """Returns one row of the table.

    Args:
      transformers: whether it holds transformers, which then is a repository of its own beside the frozen wheels.
      folders: model folders of its own, `models/NAME` beside its lock, which stand among those of transformers: for
        models that another package has.
      shares: the environment whose wheels it takes where both locks have the same one. They are linked instead of
        fetched and unpacked a second time; torch is nearly all of an environment.
      without: packages of its lock that are left out.
      headers_of: the environment whose lock it takes, for the C++ headers of PyTorch alone: it has no folder of its own.
    """
    return struct(folders = folders, headers_of = headers_of, shares = shares, transformers = transformers, without = without)

# What a declaration's cells run in if it names no other.
DEFAULT_ENVIRONMENT = "transformers-5.23"

ENVIRONMENTS = {
    # The server of `bazel run //deploy:remote`.
    "buildgrid": _environment(transformers = False),
    # AudioLDM2 is a pipeline, of models that transformers and diffusers have between them.
    "diffusers-0.42": _environment(folders = ["audioldm2"], shares = "transformers-5.23", transformers = True),
    # What runtimes need beside a model's environment: `packages` of a row of the table of backends.
    "inductor": _environment(headers_of = "transformers-5.23", transformers = False),
    "onnxruntime": _environment(shares = "transformers-5.23", transformers = False),
    # Its telemetry starts a thread when it is imported, after which a worker cannot fork; OpenVINO does without.
    "openvino": _environment(shares = "transformers-5.23", transformers = False, without = ["openvino-telemetry"]),
    "tools": _environment(transformers = False),
    # The last of transformers 4: models that 5 removed.
    "transformers-4.57": _environment(shares = "transformers-5.23", transformers = True),
    # The release before, for `bazel run //:drift`.
    "transformers-5.22": _environment(shares = "transformers-5.23", transformers = True),
    "transformers-5.23": _environment(transformers = True),
}
