"""The one table of backends: everything that a model can be proven on.

A new backend is one entry here and, where its runtime is new, one adapter in `harness/runtimes/`. From this
table come the device constraint, the `toolchain()` registration, the platform, the `--config` of the same name
and one test per model.

The tolerances are for results that should agree on this backend, `|a - b| <= atol * max(1, max|b|) + rtol * |b|`. For float32
they are a hundred times the unit round-off (1.2e-7) of a value of order one: tiny models chain some hundred
operations, and the order of a sum may differ between two correct implementations.
"""

def _backend(*, name, device, runtime, dtype, rtol, atol, counts = True, absent = ""):
    """Returns one row of the table.

    Args:
      name: the backend's name; also the name of the test that each model gets for it.
      device: the hardware it runs on, one of `DEVICES`. Cells of absent devices are skipped.
      runtime: the adapter in `harness/runtimes/` that runs the model.
      dtype: the dtype of weights and floating inputs, as torch spells it.
      rtol: relative tolerance, without unit.
      atol: absolute tolerance, in the output's own unit.
      counts: whether a verdict of this backend counts as coverage. Only `mock` does not.
      absent: why no cell of this backend can run yet, on any host; empty where it can. Reports show the reason.
    """
    return struct(
        absent = absent,
        atol = atol,
        counts = counts,
        device = device,
        dtype = dtype,
        name = name,
        rtol = rtol,
        runtime = runtime,
    )

# A machine that has the device skips these cells too, until there is a lock with the wheels for it.
_CPU_WHEELS = "the environments have CPU wheels only"

BACKENDS = [
    _backend(name = "cpu", device = "cpu", runtime = "eager", dtype = "float32", rtol = "1e-4", atol = "1e-5"),
    _backend(name = "cuda", device = "cuda", runtime = "eager", dtype = "float32", rtol = "1e-4", atol = "1e-5", absent = _CPU_WHEELS),
    _backend(name = "rocm", device = "rocm", runtime = "eager", dtype = "float32", rtol = "1e-4", atol = "1e-5", absent = _CPU_WHEELS),
    _backend(name = "mps", device = "mps", runtime = "eager", dtype = "float32", rtol = "1e-4", atol = "1e-5", absent = _CPU_WHEELS),
    _backend(name = "xpu", device = "xpu", runtime = "eager", dtype = "float32", rtol = "1e-4", atol = "1e-5", absent = _CPU_WHEELS),
    # No model runs: the harness checks the declaration and itself, without torch and transformers.
    _backend(name = "mock", device = "cpu", runtime = "mock", dtype = "float32", rtol = "0", atol = "0", counts = False),
]

# The backend that reference values are recorded on.
REFERENCE = "cpu"

# The runtimes of the table, each once, each with an adapter in harness/runtimes/.
RUNTIMES = {backend.runtime: None for backend in BACKENDS}.keys()

# The devices of the table, each once. `cpu` is on every host.
DEVICES = {backend.device: None for backend in BACKENDS}.keys()
