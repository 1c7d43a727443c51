"""The spec: a declaration and a backend as JSON, for a cell's action and for the bundle."""

_VERSION = 1

def _concerns(backend, key):
    """Returns whether a declaration's entry, by a check's id or a backend's name, is about this backend's cell."""
    if "::" not in key:
        return key == backend.name
    return key.startswith("runtime::") == (backend.checks == "runtime")

def spec_text(label, fields, backend, epoch, known_failures):
    """Returns the text of a cell's spec. It changes when and only when the declaration or the backend does.

    Args:
      label: the cell's label, a string.
      fields: of the model's ModelInfo.
      backend: a BackendInfo, or a row of the table of backends.
      epoch: value of `//rules:epoch`.
      known_failures: what the backend cannot do, where no other file says it: the bundle has the spec alone.
    """
    return json.encode_indent(dict(
        fields,
        backend = {
            "checks": backend.checks,
            "device": backend.device,
            "dtype": backend.dtype,
            "known_failures": known_failures,
            "name": backend.name,
            "runtime": backend.runtime,
            "tolerance": {name: float(value) for name, value in backend.tolerance.items()},
        },
        epoch = epoch,
        known_failures = [entry for entry in fields["known_failures"] if _concerns(backend, entry["match"])],
        label = label,
        limits = dict(fields["limits"], cpu_seconds = fields["limits"]["cpu_seconds"] * backend.cpu_factor),
        not_applicable = {
            check: reason
            for check, reason in fields["not_applicable"].items()
            if _concerns(backend, check)
        },
        version = _VERSION,
    )) + "\n"
