"""Analysis tests of `hf_model`: which targets it makes, what they carry, and how bad input is refused."""

load("@bazel_skylib//lib:unittest.bzl", "analysistest", "asserts")
load("//rules:defs.bzl", "ModelInfo", "VerdictInfo")
load("//rules/private:declaration.bzl", "hf_model_declaration")
load("//rules/private:drift.bzl", "hf_drift")
load("//rules/private:index.bzl", "hf_declarations")
load("//toolchains:backends.bzl", "BACKENDS", "backend_row", "cannot")

SAMPLE = "//tests/rules/decoder/sample"

# --- what a declaration carries

def _declaration_test_impl(ctx):
    env = analysistest.begin(ctx)
    target = analysistest.target_under_test(env)
    fields = target[ModelInfo].fields
    asserts.equals(env, "//tests/rules/decoder/sample:sample", target[ModelInfo].label)
    asserts.equals(env, "llama", fields["folder"])
    asserts.equals(env, "decoder", fields["category"])
    asserts.equals(env, {"num_hidden_layers": 3, "vision_config": {"model_type": "clip_vision_model"}}, fields["config"])
    asserts.equals(env, {"cpu_seconds": 7, "memory_mib": 4096, "wall_seconds": 900}, fields["limits"])
    asserts.equals(env, ["cpu"], [entry["match"] for entry in fields["known_failures"]])

    # The default config of llama reaches no other folder, so clip came from the nested model_type.
    asserts.true(env, "llama" in fields["slices"] and "clip" in fields["slices"], "slices: {}".format(fields["slices"]))
    asserts.equals(env, 1, len(target[DefaultInfo].files.to_list()))
    asserts.true(env, VerdictInfo not in target, "a declaration must not depend on a run")
    return analysistest.end(env)

declaration_test = analysistest.make(_declaration_test_impl)

def _unavailable_test_impl(ctx):
    env = analysistest.begin(ctx)
    fields = analysistest.target_under_test(env)[ModelInfo].fields
    asserts.equals(env, "dinat", fields["folder"])
    asserts.equals(env, [], fields["slices"])
    return analysistest.end(env)

unavailable_test = analysistest.make(_unavailable_test_impl)

def _no_verdicts_test_impl(ctx):
    env = analysistest.begin(ctx)
    asserts.equals(env, [], analysistest.target_under_test(env)[VerdictInfo].verdicts.to_list())
    return analysistest.end(env)

no_verdicts_test = analysistest.make(_no_verdicts_test_impl)

# --- what a cell does

def _verdict_action(env):
    actions = [action for action in analysistest.target_actions(env) if action.mnemonic == "ModelVerdict"]
    asserts.equals(env, 1, len(actions))
    return actions[0]

def _cell_test_impl(ctx):
    env = analysistest.begin(ctx)
    action = _verdict_action(env)
    inputs = [file.path for file in action.inputs.to_list()]
    asserts.true(env, "harness/checks/decoder.py" in inputs, "the category's checks are an input")
    asserts.false(env, "harness/checks/encoder.py" in inputs, "another category's checks are not")
    asserts.true(env, "harness/worker.py" in inputs, "the worker is an input")
    asserts.true(env, bool([path for path in inputs if path.endswith("/cpu.json")]), "the device's identity is an input")
    asserts.true(env, bool([path for path in inputs if path.endswith("models/llama/modeling_llama.py")]), "llama's slice is an input")
    asserts.false(env, bool([path for path in inputs if path.endswith("models/bert/modeling_bert.py")]), "bert's slice is not")
    asserts.equals(
        env,
        ["cpu.junit.xml", "cpu.log.txt", "cpu.observed.json", "cpu.timings.json", "cpu.verdict.json"],
        sorted([file.basename for file in action.outputs.to_list()]),
    )
    asserts.equals(env, 1, len(analysistest.target_under_test(env)[VerdictInfo].verdicts.to_list()))
    return analysistest.end(env)

cell_test = analysistest.make(_cell_test_impl)

def _mock_cell_test_impl(ctx):
    env = analysistest.begin(ctx)
    action = _verdict_action(env)
    asserts.true(env, "--mock" in action.argv, "the mock worker is told not to import torch")
    inputs = [file.path for file in action.inputs.to_list()]
    asserts.false(env, bool([path for path in inputs if path.endswith("transformers/modeling_utils.py")]), "no core of transformers")
    return analysistest.end(env)

mock_cell_test = analysistest.make(_mock_cell_test_impl)

def _cells_test_impl(ctx):
    env = analysistest.begin(ctx)
    verdicts = analysistest.target_under_test(env)[VerdictInfo].verdicts.to_list()

    # This test's platform has only a CPU, whatever the host has.
    asserts.equals(env, ["cpu.verdict.json", "mock.verdict.json"], sorted([file.basename for file in verdicts]))
    return analysistest.end(env)

cells_test = analysistest.make(_cells_test_impl, config_settings = {
    # In full, since the test framework would look for it in its own repository.
    "//command_line_option:platforms": str(Label("//tests/rules:cpu_only")),
    # Whatever the command line says.
    str(Label("//toolchains:all_tiers")): "none",
})

def _nightly_cells_test_impl(ctx):
    env = analysistest.begin(ctx)
    verdicts = analysistest.target_under_test(env)[VerdictInfo].verdicts.to_list()
    expected = [row.name + ".verdict.json" for row in BACKENDS if row.device == "cpu"]
    asserts.equals(env, sorted(expected), sorted([file.basename for file in verdicts]))
    return analysistest.end(env)

nightly_cells_test = analysistest.make(_nightly_cells_test_impl, config_settings = {
    "//command_line_option:platforms": str(Label("//tests/rules:cpu_only")),
    str(Label("//toolchains:all_tiers")): "all",
})

def _cells_of_one_backend_test_impl(ctx):
    env = analysistest.begin(ctx)
    verdicts = analysistest.target_under_test(env)[VerdictInfo].verdicts.to_list()
    expected = ["cpu.verdict.json", "cpu_export.verdict.json", "mock.verdict.json"]
    asserts.equals(env, expected, sorted([file.basename for file in verdicts]))
    return analysistest.end(env)

cells_of_one_backend_test = analysistest.make(_cells_of_one_backend_test_impl, config_settings = {
    "//command_line_option:platforms": str(Label("//tests/rules:cpu_only")),
    str(Label("//toolchains:all_tiers")): "cpu_export",
})

def _runtime_cell_test_impl(ctx):
    env = analysistest.begin(ctx)
    action = _verdict_action(env)
    checks = [file.path for file in action.inputs.to_list() if file.path.startswith("harness/checks/")]
    asserts.equals(
        env,
        ["harness/checks/__init__.py", "harness/checks/core.py", "harness/checks/runtime.py"],
        sorted(checks),
    )
    specs = [action for action in analysistest.target_actions(env) if action.mnemonic == "FileWrite" and "tolerance" in action.content]
    spec = json.decode(specs[0].content)
    asserts.equals(env, [], spec["known_failures"], "the known failure of cpu is none of another backend's")
    asserts.equals(env, "runtime", spec["backend"]["checks"])
    return analysistest.end(env)

runtime_cell_test = analysistest.make(_runtime_cell_test_impl, config_settings = {
    str(Label("//toolchains:all_tiers")): "all",
})

def _packages_test_impl(ctx):
    env = analysistest.begin(ctx)
    action = _verdict_action(env)
    inputs = [file.path for file in action.inputs.to_list()]
    beside = [path for path in inputs if "onnxruntime_site" in path]
    if ctx.attr.has_packages:
        asserts.equals(env, ["manifest.txt", "site"], sorted([path.split("/")[-1] for path in beside]), "what it holds is in the key")
        asserts.true(env, "--packages=" + [path for path in beside if path.endswith("/site")][0] in action.argv, "the worker imports from it")
    else:
        asserts.equals(env, [], beside, "another backend's packages are in no other key")
    return analysistest.end(env)

packages_test = analysistest.make(
    _packages_test_impl,
    attrs = {"has_packages": attr.bool(mandatory = True)},
    config_settings = {str(Label("//toolchains:all_tiers")): "all"},
)

# --- the same cells in two environments

def _drift_test_impl(ctx):
    env = analysistest.begin(ctx)
    written = [action.content for action in analysistest.target_actions(env) if action.mnemonic == "FileWrite"]
    asserts.equals(env, 1, len(written))
    pairs = json.decode(written[0])
    asserts.equals(env, "transformers-4.57", pairs["before"]["environment"])
    asserts.equals(env, "transformers-5.23", pairs["after"]["environment"])
    for place, side in enumerate(["before", "after"]):
        found = pairs[side]["observed"]
        asserts.equals(env, 1, len(found))
        asserts.true(
            env,
            found[0].endswith("/{}/tests/rules/decoder/sample/cpu.observed.json".format(place)),
            "the two sides must not have one path: {}".format(found),
        )

    # The file of one side is made by another action than that of the other.
    links = [action for action in analysistest.target_actions(env) if action.mnemonic == "Symlink"]
    targets = {file.path: None for action in links for file in action.inputs.to_list()}
    asserts.equals(env, 2, len(targets))
    return analysistest.end(env)

drift_test = analysistest.make(_drift_test_impl, config_settings = {
    str(Label("//:from")): "transformers-4.57",
    str(Label("//:tiers")): "low",
})

_AttributesInfo = provider(
    doc = "What a target says of itself, for the tests.",
    fields = {"tags": "Its tags."},
)

def _attributes_impl(_target, ctx):
    return [_AttributesInfo(
        tags = ctx.rule.attr.tags,
    )]

_attributes = aspect(
    implementation = _attributes_impl,
    doc = "Reads tags of a target.",
)

def _tags_test_impl(ctx):
    env = analysistest.begin(ctx)
    tags = analysistest.target_under_test(env)[_AttributesInfo].tags
    for tag in ["backend:cpu", "device:cpu", "category:decoder", "tier:low", "extra"]:
        asserts.true(env, tag in tags, "{} is not among {}".format(tag, tags))
    return analysistest.end(env)

tags_test = analysistest.make(_tags_test_impl, extra_target_under_test_aspects = [_attributes])

# --- how bad input is refused: the label, the fault, the fix

def _refusal_test_impl(ctx):
    env = analysistest.begin(ctx)
    for text in ctx.attr.says:
        asserts.expect_failure(env, text)
    return analysistest.end(env)

refusal_test = analysistest.make(
    _refusal_test_impl,
    expect_failure = True,
    attrs = {"says": attr.string_list(doc = "Texts that the error holds.", mandatory = True)},
)

# Name of the case: what is wrong with the declaration, and what the error says.
_REFUSALS = {
    "backbone_unknown": (dict(backbones = ["bret"]), ["environment transformers-5.23 has no model folder 'bret'"]),
    "category_not_of_folder": (dict(category = "vision"), ["category 'vision' does not fit the folder", "models/vision/"]),
    "category_unknown": (dict(category = "decoders"), ["category 'decoders' is not known; did you mean 'decoder'?"]),
    "head_of_another_type": (
        dict(heads = json.encode({"LlamaModel": {"runs": {}}})),
        ["heads['LlamaModel']['runs'] is a dict, it must be a string"],
    ),
    "head_with_an_unknown_word": (
        dict(heads = json.encode({"LlamaModel": {"input": {}}})),
        ["heads['LlamaModel'] key 'input' must be one of: arguments, config, inputs, runs"],
    ),
    "known_failure_without_date": (
        dict(known_failures = json.encode({"cpu": {"reason": "upstream bug", "expires": "soon"}})),
        ["expires 'soon'", "YYYY-MM-DD"],
    ),
    "known_failure_of_a_backend_without_message": (
        dict(known_failures = json.encode({"cpu": {"reason": "upstream bug", "expires": "2027-01-01"}})),
        ["known_failures['cpu'] says not what fails", "message = '...'"],
    ),
    "known_failure_without_key": (
        dict(known_failures = json.encode({"tpu": {"reason": "upstream bug", "expires": "2027-01-01"}})),
        ["'tpu' is neither a backend"],
    ),
    "known_failure_without_reason": (
        dict(known_failures = json.encode({"cpu": {"reason": " ", "expires": "2027-01-01"}})),
        ["known_failures['cpu'] has no reason"],
    ),
    "limit_of_zero": (dict(memory_mib = 0), ["limits['memory_mib'] is 0", "above zero"]),
    "model_type_unknown": (
        dict(model_type = "lama"),
        ["model type 'lama' is not in environment transformers-5.23; did you mean 'llama'?"],
    ),
    "name_not_of_folder": (dict(), ["the model's name must be its folder's"]),
    "task_unknown": (dict(task = "text-generations"), ["task 'text-generations' is not known; did you mean 'text-generation'?"]),
    "tier_unknown": (dict(tier = "hihg"), ["tier 'hihg' is not known", "critical, high, medium, low"]),
}

# The same for the table of backends.
_CANNOT = dict(expires = "2027-01-01", issue = "upstream/file.py", message = "no such operator", operator = "aten::erfinv", reason = "none")

_ROW = dict(name = "tpu", device = "tpu", dtype = "float32", runtime = "eager")

_TABLE_REFUSALS = {
    "row_of_an_unknown_dtype": (backend_row, dict(_ROW, dtype = "float8"), "backend 'tpu' has no tolerance for float8; add it to TOLERANCES"),
    "row_of_an_unknown_environment": (
        backend_row,
        dict(_ROW, environments = ["transformers-5.32"]),
        "backend 'tpu' names environment 'transformers-5.32'; it must be one of: ",
    ),
    "row_of_unknown_packages": (backend_row, dict(_ROW, packages = "iree"), "backend 'tpu' names environment 'iree'; it must be one of: "),
    "what_a_backend_cannot_for_any_message": (cannot, dict(_CANNOT, message = "*"), "has no message; write it"),
    "what_a_backend_cannot_for_ever": (cannot, dict(_CANNOT, expires = "soon"), "cannot(operator = 'aten::erfinv') expires 'soon'; write the date as"),
    "what_a_backend_cannot_without_issue": (cannot, dict(_CANNOT, issue = ""), "has no issue; write it"),
    "what_a_backend_cannot_without_operator": (cannot, dict(_CANNOT, operator = ""), "has no operator; write it"),
    "what_a_backend_cannot_without_reason": (cannot, dict(_CANNOT, reason = " "), "has no reason; write it"),
}

def _table_impl(ctx):
    function, wrong, _ = _TABLE_REFUSALS[ctx.attr.case]
    function(**wrong)
    return []

_table = rule(
    implementation = _table_impl,
    doc = "Writes into the table of backends what it refuses.",
    attrs = {"case": attr.string(doc = "A key of `_TABLE_REFUSALS`.", mandatory = True)},
)

def refusal_suite(name, package_category):
    """Makes one refused declaration, or table, and its test for each way to be wrong.

    Args:
      name: name of the suite.
      package_category: category that the folder of the caller's package stands for.
    """
    tests = []
    for case, (wrong, says) in _REFUSALS.items():
        hf_model_declaration(
            name = case + ".declaration",
            tags = ["manual"],
            **dict(
                dict(
                    category = package_category,
                    environment = "transformers-5.23",
                    main_class = "LlamaForCausalLM",
                    model_type = "llama",
                    slices = "//toolchains:slices",
                    task = "text-generation",
                    tier = "low",
                ),
                **wrong
            )
        )
        tests.append(case + "_test")
        refusal_test(
            name = case + "_test",
            says = ["//{}:{}.declaration".format(native.package_name(), case)] + says,
            target_under_test = ":" + case + ".declaration",
        )
    for case, (_, _, says) in _TABLE_REFUSALS.items():
        _table(name = case, case = case, tags = ["manual"])
        tests.append(case + "_test")
        refusal_test(name = case + "_test", says = [says], target_under_test = ":" + case)
    native.test_suite(name = name, tests = tests)

def hf_model_test_suite(name):
    """Makes the tests of the targets of one sample model.

    Args:
      name: name of the suite.
    """
    declaration_test(name = "declaration_test", target_under_test = SAMPLE)
    cell_test(name = "cell_test", target_under_test = SAMPLE + ":cpu")
    mock_cell_test(name = "mock_cell_test", target_under_test = SAMPLE + ":mock")
    cells_test(name = "cells_test", target_under_test = SAMPLE + ":cells")
    nightly_cells_test(name = "nightly_cells_test", target_under_test = SAMPLE + ":cells")
    cells_of_one_backend_test(name = "cells_of_one_backend_test", target_under_test = SAMPLE + ":cells")
    runtime_cell_test(name = "runtime_cell_test", target_under_test = SAMPLE + ":cpu_bfloat16")
    packages_test(name = "packages_test", has_packages = True, target_under_test = SAMPLE + ":cpu_onnxruntime")
    packages_test(name = "no_packages_test", has_packages = False, target_under_test = SAMPLE + ":cpu")
    tags_test(name = "tags_test", target_under_test = SAMPLE + ":cpu")
    unavailable_test(name = "unavailable_test", target_under_test = "//models/vision/dinat")
    no_verdicts_test(name = "no_verdicts_test", target_under_test = "//models/vision/dinat:cells")
    hf_drift(
        name = "drift_of_the_sample",
        testonly = True,
        after = SAMPLE + ":cells",
        before = SAMPLE + ":cells",
        tags = ["manual"],
    )
    drift_test(name = "drift_test", target_under_test = ":drift_of_the_sample")
    hf_declarations(
        name = "one_name_twice",
        models = [SAMPLE, "//tests/rules/encoder/sample"],
        tags = ["manual"],
    )
    refusal_test(
        name = "one_name_twice_test",
        says = [
            "the name 'sample' is taken by //tests/rules/decoder/sample:sample",
            "//tests/rules/encoder/sample:sample",
        ],
        target_under_test = ":one_name_twice",
    )
    native.test_suite(name = name, tests = [
        "cell_test",
        "cells_of_one_backend_test",
        "cells_test",
        "declaration_test",
        "drift_test",
        "mock_cell_test",
        "nightly_cells_test",
        "no_packages_test",
        "no_verdicts_test",
        "one_name_twice_test",
        "packages_test",
        "runtime_cell_test",
        "tags_test",
        "unavailable_test",
    ])
