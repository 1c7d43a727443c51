"""The one table of backends: everything that a model can be proven on.

A new backend is one entry here and, where its runtime is new, one adapter in `harness/runtimes/`. From this
table come the device constraint, the `toolchain()` registration, the platform, the `--config` of the same name
and one test per model.

Only the reference runs all checks of a model's category by `checks = "category"`; `checks = "runtime"` is for what runs the
same model otherwise (another dtype, a compiler, an exported program), and examines that it gives what eager mode gives
in float32: `harness/checks/runtime.py`.
"""

load("//toolchains/environments:environments.bzl", "ENVIRONMENTS")

def _tolerance(*, rtol, atol, per_layer):
    """Returns the policy of one dtype.

    Args:
      rtol: relative tolerance, without unit, of two results on one backend that should agree.
      atol: its absolute tolerance, in the output's own unit: `|a - b| <= atol * max(1, max|b|) + rtol * |b|`.
      per_layer: what one layer (a module with weights) may add to the difference from eager mode in float32, as a share
        of the output's largest magnitude and of its norm. Rounding errors are independent, so that of a model of n
        layers is `per_layer * sqrt(n)`. Where a model amplifies its own rounding, what it makes of `per_layer` in each
        layer is measured beside it: `harness/checks/runtime.py`.
    """
    return {"atol": atol, "per_layer": per_layer, "rtol": rtol}

TOLERANCES = {
    # Twice the unit round-off (2^-8). The worst of 52 models was 1.5 times it, the median 0.4 (mixtral, whose
    # router amplifies it, apart).
    "bfloat16": _tolerance(rtol = "1e-2", atol = "1e-2", per_layer = "0.0078"),
    # A hundred times the unit round-off (1.2e-7) of a value of order one: tiny models chain some hundred operations, and
    # the order of a sum may differ between two correct implementations. Between runtimes sums of a few dozen terms
    # differ: eight times the round-off.
    "float32": _tolerance(rtol = "1e-4", atol = "1e-5", per_layer = "1e-6"),
}

# What a worker imports once for a runtime, before it forks.
# OpenVINO can be imported before the fork, and ONNX Runtime cannot: it starts a thread.
_IMPORTS = {
    "export": ["torch.export._trace", "transformers.exporters.exporter_dynamo"],
    "inductor": ["torch._dynamo", "torch._inductor.compile_fx"],
    "onnxruntime": ["onnx", "onnxscript", "transformers.exporters.exporter_onnx"],
    "openvino": ["openvino", "transformers.exporters.exporter_openvino"],
}

def backend_row(*, name, device, runtime, dtype, checks = "category", tiers = None, environments = None, packages = "", cpu_factor = 1, known_failures = [], counts = True, absent = ""):
    """One row of the table.

    Args:
      name: the backend's name; also the name of the test that each model gets for it.
      device: the hardware it runs on, one of `DEVICES`. Cells of absent devices are skipped.
      runtime: the adapter in `harness/runtimes/` that runs the model.
      dtype: the dtype of weights and floating inputs, as torch spells it, one of `TOLERANCES`.
      checks: `category` or `runtime`, see above.
      tiers: tiers of the models that it runs by default, None for all; the others with `--config=nightly`.
      environments: environments that have the runtime, None for all; models of others have no cell on it.
      packages: the environment whose packages the runtime needs beside the model's own, empty for none.
      cpu_factor: how many times the CPU seconds of a declaration's `limits` its cells may use: what is compiled is not
        the model's to pay for.
      known_failures: what the runtime cannot do, whatever the model: `cannot`.
      counts: whether a verdict of this backend counts as coverage. Only `mock` does not.
      absent: why no cell of this backend can run yet, on any host; empty where it can. Reports show the reason.

    Returns:
      The row.
    """
    if dtype not in TOLERANCES:
        fail("toolchains/backends.bzl: backend '{}' has no tolerance for {}; add it to TOLERANCES".format(name, dtype))
    for environment in (environments or []) + ([packages] if packages else []):
        if environment not in ENVIRONMENTS:
            fail("toolchains/backends.bzl: backend '{}' names environment '{}'; it must be one of: {}".format(name, environment, ", ".join(ENVIRONMENTS)))
    return struct(
        absent = absent,
        checks = checks,
        counts = counts,
        cpu_factor = cpu_factor,
        device = device,
        dtype = dtype,
        environments = environments,
        imports = _IMPORTS.get(runtime, []),
        known_failures = [dict(entry, match = name) for entry in known_failures],
        name = name,
        packages = packages,
        runtime = runtime,
        tiers = tiers,
        tolerance = TOLERANCES[dtype],
    )

def is_date(text):
    """Returns whether a text is a date as `YYYY-MM-DD`.

    Args:
      text: any text.
    """
    parts = text.split("-")
    return [len(part) for part in parts] == [4, 2, 2] and "".join(parts).isdigit()

def cannot(*, operator, message, reason, issue, expires, check = "runtime::runs"):
    """What a backend cannot do: every model that fails so is an expected failure.

    Args:
      operator: what the runtime lacks or does wrong, by its own name.
      message: what the failed check's message holds, `*` standing for anything.
      reason: the cause, in words that a maintainer of the runtime would accept.
      issue: link to the issue, or the upstream file that is at fault.
      expires: date as `YYYY-MM-DD` after which the entry must be looked at again.
      check: the first check that fails.

    Returns:
      The known failure.
    """
    for field, value in {"issue": issue, "message": message, "operator": operator, "reason": reason}.items():
        if not value.strip(" *"):
            fail("toolchains/backends.bzl: cannot(operator = '{}', message = '{}') has no {}; write it".format(operator, message, field))
    if not is_date(expires):
        fail("toolchains/backends.bzl: cannot(operator = '{}') expires '{}'; write the date as YYYY-MM-DD".format(operator, expires))
    return {
        "check": check,
        "expires": expires,
        "issue": issue,
        "message": message,
        "reason": "{}: {}".format(operator, reason),
    }

# A machine that has the device skips these cells too, until there is a lock with the wheels for it. The portable bundle
# runs them with the wheels that are there. No accelerator was at hand so far: no verdict of one has been imported.
_CPU_WHEELS = "the environments have CPU wheels only; the portable bundle runs it with yours"

_NO_PROC = "the harness supervises its runs through Linux's /proc, which macOS has not"

# The tiers that a backend beside the reference runs by default: all its cells together must fit into a few minutes of CI.
_CHEAP = ["critical", "high"]  # half a CPU second a cell
_COSTLY = ["critical"]  # exporting and compiling take 5 to 20 CPU seconds a cell

# The exports of a decoder took 20 to 46 CPU seconds on a busy machine, of the 60 that a model may use; three
# compilations by inductor took 85.
_EXPORTING = 5

# transformers 5 has exporters of its own, 4 has none.
_EXPORTERS = ["transformers-5.22", "transformers-5.23"]

_AGREEMENT = ["runtime::agrees_with_eager", "runtime::second_shape_agrees", "runtime::cached_step_agrees_with_eager"]

# What no runtime of bfloat16 can be compared on. The check says so only of a difference that rounding explains.
_ROUNDING = [
    cannot(
        check = check,
        expires = "2027-05-15",
        issue = "N. Higham, Accuracy and Stability of Numerical Algorithms, 1.6: the forward error is that of a step times the condition number",
        message = ": bfloat16 does not determine this output",
        operator = "bfloat16",
        reason = "a relative error of a 128th in each layer moves the float32 model's own output by more than a quarter of its norm: a codebook, a top-k of queries or of experts chooses otherwise, and what follows is another output",
    )
    for check in _AGREEMENT
]

_NO_FFT = cannot(
    expires = "2027-05-15",
    issue = "pytorch 2.13.0, aten/src/ATen/native/SpectralOps.cpp, promote_type_fft",
    message = "RuntimeError: Unsupported dtype BFloat16",
    operator = "torch.fft",
    reason = "the Fourier transforms take float32, float64 and, on some devices, float16",
)

# What no runtime of exported programs can take: they all begin with `torch.export`, and these are its limits. Of most guards on
# data the log of a cell has the line of the model.
_EXPORT_LIMITS = [
    cannot(
        expires = "2027-05-15",
        issue = "pytorch 2.13.0, torch/fx/experimental/symbolic_shapes.py, GuardOnDataDependentSymNode",
        message = "stage export: GuardOnDataDependentSymNode: Could not * data-dependent expression",
        operator = "torch.export",
        reason = "the model takes a way in Python that depends on values of a tensor, or on a size made of them, which a trace has not",
    ),
    cannot(
        expires = "2027-05-15",
        issue = "pytorch 2.13.0, torch/fx/experimental/symbolic_shapes.py, ShapeEnv._set_replacement",
        message = "stage export: AssertionError: tgt_bound=VR[* not a subset of src_bound=VR[",
        operator = "ShapeEnv",
        reason = "the range of a size that is a multiple of another ends beyond the largest 64-bit integer, and a range may not grow when a symbol is replaced",
    ),
    cannot(
        expires = "2027-05-15",
        issue = "pytorch 2.13.0, torch/_export/serde/serialize.py, GraphModuleSerializer.handle_call_function",
        message = "stage save: SerializeError: Failed serializing node flat_apply",
        operator = "flat_apply",
        reason = "a mask that is computed from a function of positions is traced as a call of that function, and a program that has it cannot be saved",
    ),
    cannot(
        expires = "2027-05-15",
        issue = "transformers 5.23.0, models/switch_transformers/modeling_switch_transformers.py, SwitchTransformersTop1Router.forward",
        message = "stage export: RuntimeError: _apply(): Couldn't swap Linear.weight",
        operator = "nn.Module.to",
        reason = "the router casts its own weights in forward, and a trace cannot exchange the parameters of a module",
    ),
    cannot(
        expires = "2027-05-15",
        issue = "transformers 5.23.0, exporters/utils.py, prepare_for_export",
        message = "stage export: ValueError: Found 'future_values' in inputs. Loss computation is not supported during export",
        operator = "prepare_for_export",
        reason = "the exporter takes the values to come for labels and refuses them, and forward of a time series model has no other way to read what its decoder starts from",
    ),
    cannot(
        check = "runtime::second_shape_agrees",
        expires = "2027-05-15",
        issue = "transformers 5.23.0, exporters/utils.py, _prepare_image_sizes_as_ints",
        message = "stage run: ValueError: Trying to flatten user inputs with exported input tree spec",
        operator = "_prepare_image_sizes_as_ints",
        reason = "the exporter makes a list of numbers of the sizes of pictures, so that the program is for as many pictures as it was traced with",
    ),
] + [
    cannot(
        check = check,
        expires = "2027-05-15",
        issue = "pytorch 2.13.0, torch/export/dynamic_shapes.py, Dim.AUTO",
        message = "stage run: AssertionError: Guard failed: ",
        operator = "Dim.AUTO",
        reason = "the model's Python makes a number of a size (a loop over rows or tokens, a count of blocks), so that the program is for the size, or the remainder, that it was traced with",
    )
    for check in _AGREEMENT[1:]
]

# An ONNX graph has no guards: where `torch.export`'s program refuses another size, ONNX Runtime meets a shape that does not fit.
_ONNX_LIMITS = _EXPORT_LIMITS + [
    cannot(
        expires = "2027-05-15",
        issue = "onnxscript 0.7.2, onnxscript/function_libs/torch_lib/ops/core.py, aten_squeeze_dim",
        message = "stage check: InferenceError: *op_type:Squeeze*Dimension of input * must be 1 instead of",
        operator = "aten.squeeze.dim",
        reason = "PyTorch leaves a dimension that is not one as it is; the translation is ONNX's Squeeze whatever its size, which refuses it",
    ),
    cannot(
        expires = "2027-05-15",
        issue = "transformers 5.23.0, exporters/exporter_onnx.py, _aten_index_put",
        message = "stage run at Gather *indices element out of data bounds, idx=0 must be within the inclusive range [0,-1]",
        operator = "aten.index_put",
        reason = "what is assigned by a mask is gathered from the chosen values, by a running count from 0 on: where the mask chooses none, there is no place 0",
    ),
    cannot(
        expires = "2027-05-15",
        issue = "pytorch 2.13.0, torch/onnx/_internal/exporter/_dispatching.py, dispatch",
        message = "stage export at aten.*No decompositions registered for the complex-valued input",
        operator = "complex64",
        reason = "ONNX has no complex tensors: an operator on them is translated only where a function for pairs of numbers was written for it",
    ),
    cannot(
        check = "runtime::second_shape_agrees",
        expires = "2027-05-15",
        issue = "transformers 5.23.0, exporters/utils.py, _prepare_image_sizes_as_ints",
        message = "stage run at GatherND *invalid index found, index = ",
        operator = "_prepare_image_sizes_as_ints",
        reason = "the exporter makes a list of numbers of the sizes of pictures, so that the graph gathers the tokens of as many pictures as it was traced with",
    ),
] + [
    cannot(
        check = "runtime::second_shape_agrees",
        expires = "2027-05-15",
        issue = "pytorch 2.13.0, torch/export/dynamic_shapes.py, Dim.AUTO",
        message = message,
        operator = "Dim.AUTO",
        reason = "the model's Python makes a number of a size (a loop over rows or tokens, a count of blocks), so that the graph is for the size that it was traced with",
    )
    for message in [
        "stage run*RuntimeError: Error in execution: *The input tensor cannot be reshaped to the requested shape",
        "stage run*RuntimeError: Error in execution: *Attempting to broadcast an axis by a dimension other than 1",
        "stage run*RuntimeError: Error in execution: *Cannot split using values in 'split' attribute",
        "stage run*RuntimeError: Error in execution: Got invalid dimensions for input",
        "stage run*RuntimeError: Error in execution: *Shape mismatch attempting to re-use buffer",
        "stage compare: * has shape [2, *] instead of [3, *] with another shape",
    ]
]

BACKENDS = [
    backend_row(name = "cpu", device = "cpu", runtime = "eager", dtype = "float32"),
    backend_row(name = "cpu_bfloat16", device = "cpu", runtime = "eager", dtype = "bfloat16", checks = "runtime", tiers = _CHEAP, known_failures = _ROUNDING + [_NO_FFT]),
    # What is compiled is kept for one run and not for the next: a cache between runs would let one verdict depend on another.
    backend_row(name = "cpu_inductor", device = "cpu_cxx", runtime = "inductor", dtype = "float32", checks = "runtime", tiers = _COSTLY, packages = "inductor", cpu_factor = _EXPORTING),
    backend_row(name = "cpu_export", device = "cpu", runtime = "export", dtype = "float32", checks = "runtime", tiers = _COSTLY, environments = _EXPORTERS, cpu_factor = _EXPORTING, known_failures = _EXPORT_LIMITS),
    backend_row(name = "cpu_onnxruntime", device = "cpu", runtime = "onnxruntime", dtype = "float32", checks = "runtime", tiers = _COSTLY, environments = _EXPORTERS, packages = "onnxruntime", cpu_factor = _EXPORTING, known_failures = _ONNX_LIMITS),
    # No row in bfloat16 beside it: the plugin computes in it where the CPU has the instructions (AVX512_BF16, AMX) and in float32
    # elsewhere, so that a verdict would be about the machine. What the dtype does to the models is `cpu_bfloat16`'s to say.
    backend_row(name = "cpu_openvino", device = "cpu", runtime = "openvino", dtype = "float32", checks = "runtime", tiers = _COSTLY, environments = _EXPORTERS, packages = "openvino", cpu_factor = _EXPORTING, known_failures = _EXPORT_LIMITS),
    backend_row(name = "cuda", device = "cuda", runtime = "accelerator", dtype = "float32", checks = "runtime", absent = _CPU_WHEELS),
    backend_row(name = "cuda_bfloat16", device = "cuda", runtime = "accelerator", dtype = "bfloat16", checks = "runtime", known_failures = _ROUNDING, absent = _CPU_WHEELS),
    backend_row(name = "rocm", device = "rocm", runtime = "accelerator", dtype = "float32", checks = "runtime", absent = _CPU_WHEELS),
    backend_row(name = "mps", device = "mps", runtime = "accelerator", dtype = "float32", checks = "runtime", absent = _NO_PROC),
    backend_row(name = "xpu", device = "xpu", runtime = "accelerator", dtype = "float32", checks = "runtime", absent = _CPU_WHEELS),
    # No model runs: the harness checks the declaration and itself, without torch and transformers.
    backend_row(name = "mock", device = "cpu", runtime = "mock", dtype = "float32", counts = False),
]

def backends_in(environment):
    """Returns the rows that models of an environment have a cell for.

    Args:
      environment: its name.
    """
    return [row for row in BACKENDS if row.environments == None or environment in row.environments]

def nightly_values(row):
    """Returns the values of `//toolchains:all_tiers` by which a row runs the models of all tiers.

    Args:
      row: of the table.
    """
    return ["all", row.name]

# The backend that reference values are recorded on.
REFERENCE = "cpu"

# Those of exported programs: what transformers' exporters or `torch.export` make of a model they all begin with.
EXPORTED = [backend.name for backend in BACKENDS if backend.environments == _EXPORTERS]

# The runtimes of the table, each once, each with an adapter in harness/runtimes/.
RUNTIMES = {backend.runtime: None for backend in BACKENDS}.keys()

# The devices of the table, each once. `cpu` is on every host.
DEVICES = {backend.device: None for backend in BACKENDS}.keys()

# What a device is, in words, where its name does not say it: reports name it where it is missing.
DEVICE_WORDS = {
    "cpu_cxx": "a processor with a C++ compiler (g++ or clang++ in /usr/bin or /usr/local/bin) and the headers of its Python",
}
