"""Scanning transformers' sources: folders made up here, and the real package where it is installed."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness import scan

BASE_CONFIG = """
class PreTrainedConfig:
    model_type: ClassVar[str] = ""
    attribute_map: ClassVar[dict] = {}
    output_attentions: bool = False

    @property
    def num_labels(self): ...
    @num_labels.setter
    def num_labels(self, value): ...
"""
MAPPINGS = """
from collections import OrderedDict
CONFIG_MAPPING_NAMES = OrderedDict([("one", "OneConfig"), ("two", "TwoConfig"), ("two-text", "TwoTextConfig")])
SPECIAL_MODEL_TYPE_TO_MODULE_NAME = OrderedDict([("two-text", "two")])
"""
ONE = {
    "configuration_one.py": '''
from ...configuration_utils import PreTrainedConfig

class OneConfig(PreTrainedConfig):
    """
    hidden: int = 3 is no field, it is in the docstring
    """
    model_type = "one"
    attribute_map = {"width": "hidden_size"}
    hidden_size: int = 8
    keys_to_ignore = ["x"]

    def __post_init__(self, **kwargs):
        self.old = kwargs.pop("old_name", None)
''',
    "modeling_one.py": """
from ...modeling_utils import PreTrainedModel

class OnePreTrainedModel(PreTrainedModel):
    pass

class OneModel(OnePreTrainedModel):
    pass

class OneForCausalLM(
    OneModel,
    GenerationMixin,
):
    pass

class PretrainedOne(OnePreTrainedModel):
    pass

class OneTowerPretrainedModel(OnePreTrainedModel):
    def forward(self):
        pass

class OneLayer(Module):
    pass

class OneOutput(ModelOutput):
    pass

class Hidden(OneModel):
    pass

__all__ = [
    "OneForCausalLM",  # not "Commented"
    "OneModel", "OneOutput", "OnePreTrainedModel",
    "PretrainedOne", "OneTowerPretrainedModel",
]
__all__ += ["OneLayer"]
""",
}
TWO = {
    "configuration_two.py": """
from ...configuration_utils import PreTrainedConfig, SubConfigSpec
from ..auto import AutoConfig
from ..one.configuration_one import OneConfig

class TwoTextConfig(OneConfig):
    model_type = "two-text"
    depth: int = 2

class TwoConfig(PreTrainedConfig):
    model_type = "two"
    sub_configs_defaults = {
        "text_config": SubConfigSpec(config_class=TwoTextConfig),
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="three"),
    }
    text_config: dict | None = None
    vision_config: dict | None = None
""",
    "modeling_two.py": """
from ..one.modeling_one import OneModel
# Copied from transformers.models.four.modeling_four.FourLayer with Four->Two

class TwoModel(OneModel):
    pass

__all__ = ["TwoModel"]
""",
    "modular_two.py": "from ..four.modeling_four import FourModel\n",
}


def make_package(folder: Path, models: Mapping[str, Mapping[str, str]]) -> Path:
    package = folder / "transformers"
    files = {"__init__.py": "", "configuration_utils.py": BASE_CONFIG, "models/__init__.py": ""}
    files |= {"models/auto/__init__.py": "", "models/auto/auto_mappings.py": MAPPINGS}
    for name, sources in models.items():
        files |= {f"models/{name}/__init__.py": ""} | {f"models/{name}/{file}": text for file, text in sources.items()}
    for path, text in files.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text)
    return package


@pytest.fixture
def inventory(tmp_path: Path) -> scan.Inventory:
    return scan.scan(make_package(tmp_path, {"one": ONE, "two": TWO, "three": {}, "four": {}}))


def test_public_concrete_model_classes_are_found(inventory: scan.Inventory) -> None:
    assert inventory.folders["one"].classes == ("OneForCausalLM", "OneModel", "OneTowerPretrainedModel")


def test_a_model_that_inherits_from_another_folders_model_is_found(inventory: scan.Inventory) -> None:
    assert inventory.folders["two"].classes == ("TwoModel",)


def test_model_types_resolve_to_folders_as_auto_does(inventory: scan.Inventory) -> None:
    assert inventory.folders["one"].model_types == ("one",)
    assert inventory.folders["two"].model_types == ("two", "two-text")


def test_every_way_to_write_a_config_key_is_a_field(inventory: scan.Inventory) -> None:
    config = inventory.folders["one"].configs["OneConfig"]
    assert config.model_type == "one"
    assert sorted(config.fields) == ["hidden_size", "num_labels", "old_name", "output_attentions", "width"]


def test_fields_are_inherited_from_another_folders_config(inventory: scan.Inventory) -> None:
    config = inventory.folders["two"].configs["TwoTextConfig"]
    assert config.model_type == "two-text"
    assert {"depth", "hidden_size", "width", "output_attentions"} <= set(config.fields)


def test_nested_configs_name_their_default(inventory: scan.Inventory) -> None:
    found = inventory.folders["two"].configs["TwoConfig"].sub_configs
    assert found == {"text_config": "TwoTextConfig", "vision_config": "three"}


def test_a_config_with_a_constructor_of_the_old_style_has_its_arguments_as_fields(tmp_path: Path) -> None:
    source = """
from ...configuration_utils import PreTrainedConfig
class OldConfig(PreTrainedConfig):
    model_type = "old"
    def __init__(self, width=8, *, depth=2, **kwargs):
        self.seed = kwargs.get("seed")
        super().__init__(**kwargs)
"""
    folder = scan.scan_folder(make_package(tmp_path, {"old": {"configuration_old.py": source}}), "old")
    assert {"width", "depth", "seed"} <= set(folder.configs["OldConfig"].fields)


def test_imports_and_default_configs_are_reached_and_comments_are_not(inventory: scan.Inventory) -> None:
    assert inventory.folders["two"].imports == ("auto", "one")
    assert inventory.folders["two"].reaches == ("auto", "one", "three")


@pytest.mark.parametrize(
    "line",
    [
        "from ..four.modeling_four import FourModel",
        "from ..four import FourModel",
        "from .. import four",
        "from ...models.four.modeling_four import FourModel",
        "from transformers.models.four.modeling_four import FourModel",
        "import transformers.models.four.modeling_four",
        "def f():\n    from ..four.modeling_four import FourModel",
        'config = CONFIG_MAPPING["four"]()',
        'config = AutoConfig.for_model("four")',
        'config = {"model_type": "four"}',
    ],
)
def test_each_way_to_reach_a_folder_is_seen(tmp_path: Path, line: str) -> None:
    package = make_package(tmp_path, {"one": {"modeling_one.py": line + "\n"}, "four": {}})
    assert scan.scan(package).folders["one"].reaches == ("four",)
    assert scan.scan_folder(package, "one").reaches == ("four",)


@pytest.mark.parametrize("line", ["# from ..four import F", "x = 'from ..four import F'", "from ...utils import four"])
def test_what_only_looks_like_an_import_is_not_seen(tmp_path: Path, line: str) -> None:
    package = make_package(tmp_path, {"one": {"modeling_one.py": line + "\n"}, "four": {}})
    assert scan.scan(package).folders["one"].reaches == ()


def test_the_closure_goes_round_a_circle_and_not_through_auto(tmp_path: Path) -> None:
    package = make_package(
        tmp_path,
        {
            "one": {"modeling_one.py": "from ..two import X\nfrom ..auto import AutoModel\n"},
            "two": {"modeling_two.py": "from ..three import X\n"},
            "three": {"modeling_three.py": "from ..one import X\n"},
            "four": {"configuration_four.py": 'CONFIG_MAPPING["one"]\n'},
            "auto": {"tokenization_auto.py": "from ..four import X\n"},
        },
    )
    found = scan.scan(package)
    assert found.closure("one") == found.closure("two") == ("one", "three", "two")
    assert found.closure("four") == ("four", "one", "three", "two")
    assert found.core() == found.closure("auto") == ("four",)


def test_one_folder_alone_is_what_it_is_among_all(tmp_path: Path, inventory: scan.Inventory) -> None:
    assert scan.scan_folder(tmp_path / "transformers", "one") == inventory.folders["one"]


def test_a_folder_of_folders_holds_model_folders(tmp_path: Path) -> None:
    two = {
        "modeling_two.py": "from ....modeling_utils import PreTrainedModel\nfrom ...one.modeling_one import OneModel\n"
        "class TwoModel(PreTrainedModel):\n    pass\n__all__ = ['TwoModel']\n",
        "modeling_tf_two.py": "class TFTwoModel(TFPreTrainedModel):\n    pass\n__all__ = ['TFTwoModel']\n",
    }
    package = make_package(tmp_path, {"one": ONE, "deprecated": {}, "deprecated/two": two})
    found = scan.scan(package)
    assert found.folders["deprecated.two"].classes == ("TwoModel",)
    assert found.folders["deprecated.two"].model_types == ("two", "two-text")
    assert found.closure("deprecated.two") == ("deprecated", "deprecated.two", "one")
    assert scan.scan_folder(package, "deprecated.two").classes == ("TwoModel",)


def test_an_alias_reaches_the_folder_that_has_its_config(tmp_path: Path) -> None:
    package = make_package(tmp_path, {"one": ONE, "alias": {}})
    with (package / "models/auto/auto_mappings.py").open("a") as file:
        file.write('CONFIG_MAPPING_NAMES.update({"alias": "OneConfig"})\n')
    folder = scan.scan(package).folders["alias"]
    assert (folder.model_types, folder.reaches) == (("alias",), ("one",))


def test_what_is_no_package_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(scan.ScanError, match="no transformers package"):
        scan.scan(tmp_path)
    assert scan.main([f"--package={tmp_path}", f"--inventory={tmp_path / 'inventory.json'}"]) == 1
    assert "no transformers package" in capsys.readouterr().err
    with pytest.raises(scan.ScanError, match="no model folder 'five'"):
        scan.scan_folder(make_package(tmp_path, {}), "five")


def test_the_program_writes_inventory_and_manifest(tmp_path: Path) -> None:
    package = make_package(tmp_path, {"one": ONE})
    inventory, manifest = tmp_path / "inventory.json", tmp_path / "manifest.txt"
    assert scan.main([f"--package={package}", f"--inventory={inventory}", f"--manifest={manifest}"]) == 0
    entry = json.loads(inventory.read_text())["one"]
    assert (entry["classes"], entry["slices"]) == (["OneForCausalLM", "OneModel", "OneTowerPretrainedModel"], ["one"])
    before = manifest.read_text()
    (package / "models/one/modeling_one.py").write_text("# edited\n")
    assert scan.main([f"--package={package}", f"--inventory={inventory}", f"--manifest={manifest}"]) == 0
    assert manifest.read_text() != before


REAL = [
    "llama",
    "bert",
    "t5",
    "clip",
    "llava",
    "blip_2",
    "bark",
    "wav2vec2",
    "whisper",
    "deberta_v2",
    "fuyu",
    "speecht5",
]


@pytest.fixture(scope="module")
def installed() -> scan.Inventory:
    found = importlib.util.find_spec("transformers")
    assert found is not None and found.origin is not None
    return scan.scan(Path(found.origin).parent)


@pytest.mark.parametrize("folder", REAL)
def test_the_scan_agrees_with_the_imported_classes(installed: scan.Inventory, folder: str) -> None:
    from transformers import PreTrainedConfig

    from harness.build import _is_concrete

    package = installed.folders[folder]
    models: set[str] = set()
    configs: dict[str, Any] = {}
    origin = importlib.import_module(f"transformers.models.{folder}").__file__
    assert origin is not None
    for path in sorted(Path(origin).parent.glob("*.py")):
        if not path.name.startswith(("modeling_", "configuration_")):
            continue
        module = importlib.import_module(f"transformers.models.{folder}.{path.stem}")
        for name, value in vars(module).items():
            if not isinstance(value, type) or value.__module__ != module.__name__:
                continue
            if name in module.__all__ and _is_concrete(value):
                models.add(name)
            if issubclass(value, PreTrainedConfig):
                configs[name] = value
    assert set(package.classes) == models
    assert set(package.configs) == set(configs)
    for name, config in configs.items():
        assert package.configs[name].model_type == config.model_type
        fields = {field.name for field in dataclasses.fields(config)} | set(config.attribute_map)
        assert fields <= set(package.configs[name].fields)
        assert set(config.sub_configs) <= set(package.configs[name].sub_configs)


def test_every_public_model_class_of_this_transformers_is_counted(installed: scan.Inventory) -> None:
    assert sum(len(folder.classes) for folder in installed.folders.values()) == 1734
    assert len(installed.folders) == 547
