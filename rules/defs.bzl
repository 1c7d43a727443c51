"""The public face of the rules: everything that a BUILD file of this workspace loads.

```python
load("//rules:defs.bzl", "hf_model")

hf_model(
    name = "llama",
    main_class = "LlamaForCausalLM",
    checkpoint = "meta-llama/Llama-3.2-1B",
    task = "text-generation",
    tier = "high",
)
```

makes `:llama` (the declaration), `:cpu`, `:cuda`, ... (one test for each backend of `toolchains/backends.bzl`)
and `:cells` (the verdicts that this host can have).
"""

load("//rules/private:backend.bzl", _BackendInfo = "BackendInfo")
load("//rules/private:grid.bzl", _hf_grid = "hf_grid")
load("//rules/private:hf_model.bzl", _hf_model = "hf_model", _hf_unavailable_model = "hf_unavailable_model", _known_failure = "known_failure")
load("//rules/private:index.bzl", _hf_model_index = "hf_model_index")
load("//rules/private:model_info.bzl", _ModelInfo = "ModelInfo")
load("//rules/private:verdict_info.bzl", _VerdictInfo = "VerdictInfo")

BackendInfo = _BackendInfo
ModelInfo = _ModelInfo
VerdictInfo = _VerdictInfo
hf_grid = _hf_grid
hf_model = _hf_model
hf_model_index = _hf_model_index
hf_unavailable_model = _hf_unavailable_model
known_failure = _known_failure
