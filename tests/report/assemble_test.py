"""What counts as covered, and which parts do not make a grid."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from report.assemble import assemble
from report.coverage_format import STATUSES, Cell, Coverage
from report.strict import InputError
from tests.report import samples
from tests.report.samples import CPU, CUDA, MOCK, contents, declaration, known_failure, verdict


def _cell(coverage: Coverage, label: str) -> Cell:
    (cell,) = (cell for cell in coverage.cells if cell.label == label)
    return cell


def _llama(**fields: Any) -> Cell:
    llama = declaration(known_failures=(known_failure(),))
    return _cell(assemble(contents([llama], [verdict(llama, **fields)])), "//models/decoder/llama:cpu")


@pytest.mark.parametrize(
    ("status", "level", "covered"),
    [
        ("passed", "consistent", True),
        ("passed", "reference", True),
        ("passed", "forward", True),
        ("passed", "built", False),
        ("expected_failure", "forward", True),
        ("expected_failure", "parsed", False),
        ("failed", "forward", False),
        ("flaky", "consistent", False),
        ("unexpected_pass", "consistent", False),
    ],
)
def test_green_at_forward_or_deeper_is_covered(status: str, level: str, covered: bool) -> None:
    assert _llama(status=status, level=level).covered is covered


def test_mock_never_counts() -> None:
    llama = declaration()
    coverage = assemble(contents([llama], [verdict(llama, "mock")]))
    assert not _cell(coverage, "//models/decoder/llama:mock").covered
    assert (coverage.total.covered, coverage.total.levels["declared"]) == (0, 1)
    assert sum(coverage.total.statuses.values()) == 2, "cells of cpu and cuda alone"
    assert coverage.by_backend["mock"].covered == 0


def test_mock_that_claims_a_real_level_does_not_count() -> None:
    llama = declaration()
    assert assemble(contents([llama], [verdict(llama, "mock", level="consistent")])).total.covered == 0


def test_mock_level_on_a_real_backend_is_refused() -> None:
    with pytest.raises(InputError, match="level 'mock' on backend 'cpu'"):
        _llama(level="mock")


def test_declared_cell_without_verdict_is_no_hardware() -> None:
    llama = declaration()
    cell = _cell(assemble(contents([llama], [verdict(llama)])), "//models/decoder/llama:cuda")
    assert (cell.status, cell.level, cell.covered) == ("no_hardware", "declared", False)
    assert "'cuda'" in cell.reason


def test_a_missing_device_is_told_in_words_where_its_name_does_not_say_what_it_is() -> None:
    llama = declaration()
    cuda = dataclasses.replace(CUDA, device="cpu_cxx", device_words="a C++ compiler")
    cell = _cell(assemble(contents([llama], [verdict(llama)], (CPU, cuda))), "//models/decoder/llama:cuda")
    assert cell.reason.endswith("its platform has no device 'cpu_cxx': a C++ compiler")


def test_backend_without_implementation_is_absent() -> None:
    llama = declaration()
    cuda = dataclasses.replace(CUDA, absent="no adapter yet")
    cell = _cell(assemble(contents([llama], [verdict(llama)], (CPU, cuda))), "//models/decoder/llama:cuda")
    assert (cell.status, cell.reason) == ("absent", "no adapter yet")


def test_cell_outside_the_declaration_is_not_declared() -> None:
    llama = declaration(backends=("cpu",))
    coverage = assemble(contents([llama], [verdict(llama)]))
    assert _cell(coverage, "//models/decoder/llama:cuda").status == "not_declared"
    assert coverage.by_backend["cuda"].models == 0


def test_model_that_no_cell_can_run_is_shown_and_never_counted() -> None:
    llama = declaration()
    gone = declaration("imagebind", backends=(), folder="", unavailable="no package implements it")
    wants = declaration("dinat", backends=(), folder="dinat", unavailable="its attention is natten's", package="natten")
    inventory = {"llama": ("LlamaModel",), "dinat": ("DinatModel",)}
    coverage = assemble(dataclasses.replace(contents([llama, gone, wants], [verdict(llama)]), inventory=inventory))
    cells = {cell.label: cell for cell in coverage.cells}
    assert cells["//models/decoder/imagebind:cpu"].status == "absent"
    assert cells["//models/decoder/dinat:cpu"].status == "no_package"
    assert cells["//models/decoder/dinat:cpu"].reason == "its attention is natten's"
    assert (coverage.total.models, coverage.total.covered) == (3, 1)
    assert coverage.inventory is not None
    assert (coverage.inventory.vanished, coverage.inventory.missing) == ((), ())


def test_folder_without_a_model_is_listed_and_is_none_that_could_be_declared() -> None:
    inventory = {"llama": ("LlamaModel",), "nllb": (), "byt5": ()}
    coverage = assemble(dataclasses.replace(contents([declaration()], [verdict(declaration())]), inventory=inventory))
    assert coverage.inventory is not None
    assert coverage.inventory.without_model == ("byt5", "nllb")
    assert (coverage.inventory.folders, coverage.inventory.missing) == (1, ())


def test_verdict_of_a_model_that_no_cell_can_run_is_refused() -> None:
    gone = declaration("imagebind", backends=(), unavailable="no package implements it")
    with pytest.raises(InputError, match="a verdict of a cell that nothing declares"):
        assemble(contents([gone], [verdict(gone)]))


def test_expected_failure_shows_the_declarations_entry() -> None:
    cell = _llama(status="expected_failure", level="forward", failed_check="decoder::causality")
    assert cell.known_failure == known_failure()


def test_model_has_its_deepest_level_on_any_backend_that_counts() -> None:
    llama = declaration()
    found = [verdict(llama, "cpu", level="forward"), verdict(llama, "cuda"), verdict(llama, "mock")]
    coverage = assemble(contents([llama], found))
    assert coverage.models[0].level == "consistent"
    assert coverage.total.levels["consistent"] == 1


def test_a_runtime_that_gives_what_eager_mode_does_makes_no_broken_model_better() -> None:
    llama, export = (
        declaration(backends=("cpu", "cpu_export")),
        dataclasses.replace(CUDA, name="cpu_export", checks="runtime"),
    )
    broken, same = verdict(llama, status="expected_failure", level="forward"), verdict(llama, "cpu_export")
    assert assemble(contents([llama], [broken, same], (CPU, export))).models[0].level == "forward"
    assert assemble(contents([llama], [same], (CPU, export))).models[0].level == "consistent"


def test_empty_category_and_tier_are_there() -> None:
    llama = declaration()
    coverage = assemble(contents([llama], [verdict(llama)]))
    assert coverage.by_category["audio"].models == 0
    assert coverage.by_tier["critical"].models == 0
    assert [(group.category, group.tier) for group in coverage.groups] == [("decoder", "high")]


def test_summaries_agree() -> None:
    models = [declaration(), declaration("bert", "encoder", "critical"), declaration("gpt2", tier="critical")]
    found = [verdict(models[0]), verdict(models[1], status="failed", level="built"), verdict(models[2], "mock")]
    coverage = assemble(contents(models, found))
    assert coverage.total.models == 3
    for parts in (coverage.by_category.values(), coverage.by_tier.values()):
        assert sum(part.covered for part in parts) == coverage.total.covered == 1
    for group in [group.summary for group in coverage.groups] + [coverage.total]:
        assert sum(group.levels.values()) == group.models
        assert set(group.statuses) == set(STATUSES)
    assert [model.name for model in coverage.models] == ["bert", "gpt2", "llama"]


def test_a_model_of_another_environment_is_not_missed_in_the_inventory() -> None:
    old = declaration("old", folder="deprecated.old", environment="transformers-4.57")
    inventory = {"llama": ("LlamaModel",), "deprecated.old": ("OldModel",)}
    grid = dataclasses.replace(contents([old], [verdict(old)]), inventory=inventory, environment="transformers-5.23")
    found = assemble(grid).inventory
    assert found is not None
    assert (found.vanished, found.missing) == ((), ("deprecated.old", "llama"))


def test_inventory_is_the_denominator() -> None:
    models = [declaration(), declaration("gone", model_type="gone")]
    inventory = {"llama": ("LlamaForCausalLM", "LlamaModel"), "mamba": ("MambaModel",), "auto": ()}
    grid = dataclasses.replace(contents(models, [verdict(models[0])]), inventory=inventory)
    found = assemble(grid).inventory
    assert found is not None
    assert (found.folders, found.declared, found.missing) == (2, 1, ("mamba",))
    assert found.vanished == ("//models/decoder/gone:gone",)
    assert found.detail[0].exercised == ("LlamaForCausalLM",)


def test_classes_that_only_mock_names_are_not_exercised() -> None:
    llama = declaration()
    grid = dataclasses.replace(contents([llama], [verdict(llama, "mock")]), inventory={"llama": ("LlamaForCausalLM",)})
    found = assemble(grid).inventory
    assert found is not None and found.detail[0].exercised == ()


def test_equal_work_gives_equal_bytes() -> None:
    models = [declaration(), declaration("gpt2")]
    found = [verdict(model) for model in models]
    one = assemble(contents(models, found)).to_json()
    other = assemble(contents(models[::-1], found[::-1])).to_json()
    assert one == other
    assert json.loads(one)["version"] == 2


def test_nothing_declared_is_refused() -> None:
    with pytest.raises(InputError, match="no model is declared"):
        assemble(contents([], []))


def test_no_verdicts_is_refused() -> None:
    with pytest.raises(InputError, match="no verdicts yet"):
        assemble(contents([declaration()], []))


def test_duplicate_cell_is_refused() -> None:
    llama = declaration()
    with pytest.raises(InputError, match="//models/decoder/llama:cpu: two verdicts of one cell"):
        assemble(contents([llama], [verdict(llama), verdict(llama)]))


def test_two_models_of_one_name_are_refused() -> None:
    other = declaration("llama", "encoder")
    with pytest.raises(InputError, match="the name 'llama' is taken by"):
        assemble(contents([declaration(), other], [verdict(other)]))


def test_one_declaration_twice_is_refused() -> None:
    with pytest.raises(InputError, match="declared twice"):
        assemble(contents([declaration(), declaration()], [verdict(declaration())]))


def test_verdict_of_an_undeclared_cell_is_refused() -> None:
    with pytest.raises(InputError, match="//models/decoder/gpt2:cpu: a verdict of a cell that nothing declares"):
        assemble(contents([declaration()], [verdict(declaration("gpt2"))]))


def test_backend_twice_in_the_table_is_refused() -> None:
    with pytest.raises(InputError, match="backend 'cpu' is in the table twice"):
        assemble(contents([declaration()], [verdict(declaration())], (CPU, CPU)))


def test_verdict_on_a_backend_outside_the_table_is_refused() -> None:
    with pytest.raises(InputError, match="backend 'cpu' is not in the table"):
        assemble(contents([declaration()], [verdict(declaration())], (MOCK, CUDA)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("environment", "transformers-4.57", "the verdict says environment 'transformers-4.57'"),
        ("name", "lama", "the verdict says name 'lama'"),
        ("category", "encoder", "the verdict says category 'encoder'"),
        ("backend", "cuda", "the verdict says backend 'cuda'"),
        ("status", "no_hardware", "status 'no_hardware' is not one of"),
        ("level", "deep", "level 'deep'"),
    ],
)
def test_verdict_that_contradicts_its_declaration_is_refused(field: str, value: Any, message: str) -> None:
    llama = declaration()
    with pytest.raises(InputError, match=message):
        assemble(contents([llama], [dataclasses.replace(verdict(llama), **{field: value})]))


def test_a_large_grid_keeps_every_cell() -> None:
    models = [declaration(f"model{index}") for index in range(650)]
    coverage = assemble(contents(models, [verdict(model) for model in models]))
    assert len(coverage.cells) == 650 * len(samples.TABLE)
    assert coverage.total.covered == 650
