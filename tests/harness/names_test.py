"""The names that transformers offers at its top are those of a cell's own folders."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from harness import names
from harness.build import folders


@pytest.fixture(autouse=True, name="top")
def _top() -> Iterator[Any]:
    """The top of transformers as a worker has it that saw no model folder; whole again behind the test."""
    names.offer([])
    yield importlib.import_module("transformers")
    names.offer(folders())


def test_a_worker_that_saw_no_folder_knows_no_name_of_it(top: Any) -> None:
    assert not hasattr(top, "UdopConfig")


def test_names_of_declared_folders_are_offered(top: Any) -> None:
    names.offer(["udop", "t5"])
    assert top.UdopConfig.model_type == "udop"
    assert top.models.t5.T5Config.model_type == "t5"


def test_names_of_other_folders_are_not(top: Any) -> None:
    names.offer(["bert"])
    names.offer(["t5"])
    assert not hasattr(top, "BertModel")
    assert "BertModel" not in dir(top)


def test_names_of_the_core_stay(top: Any) -> None:
    assert top.PreTrainedModel.__name__ == "PreTrainedModel"
    assert top.AutoModel.__name__ == "AutoModel"


def test_a_folder_that_is_not_there_offers_nothing(top: Any) -> None:
    before = set(dir(top))
    names.offer(["no_such_folder"])
    assert set(dir(top)) == before


def test_a_name_whose_package_is_missing_says_which(top: Any) -> None:
    names.offer(["qwen2_vl"])
    with pytest.raises(ImportError, match=r"(?i)torchvision"):
        top.Qwen2VLVideoProcessor()


def test_a_worker_without_the_list_of_all_folders_offers_the_same(top: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ModuleType("transformers.models")
    plain.__path__ = list(top.models.__path__)
    monkeypatch.setitem(sys.modules, "transformers.models", plain)
    names.offer(["t5"])
    assert top.T5Config.model_type == "t5"
