"""Building: weights that depend on name and seed alone, ties that hold, and errors that name the fix."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from harness import build, shrink
from harness.spec import SpecError
from tests.harness import made_up
from tests.harness.made_up import MadeUpForCausalLM, TextConfig


@pytest.fixture(autouse=True)
def made_up_folder() -> Iterator[None]:
    """The made-up model is a folder of transformers."""
    with made_up.folder():
        yield


def tiny_model(seed: int = 0) -> MadeUpForCausalLM:
    """Returns the made-up model, shrunk."""
    model = build.build(MadeUpForCausalLM, shrink.shrink(TextConfig()), seed=seed)
    assert isinstance(model, MadeUpForCausalLM)
    return model


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, second, other = tiny_model(), tiny_model(), tiny_model(seed=1)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    assert not torch.equal(first.embed.weight, other.embed.weight)


def test_weights_do_not_depend_on_the_global_generator() -> None:
    first = tiny_model()
    torch.manual_seed(99)
    torch.rand(7)
    assert torch.equal(first.embed.weight, tiny_model().embed.weight)


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    tiny_model()
    assert torch.equal(before, torch.get_rng_state())


def test_weights_are_the_same_in_another_process() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from tests.harness.build_test import tiny_model\n"
        "print(float(tiny_model().embed.weight.detach().double().sum()))\n"
    )
    paths = [str(Path(build.__file__).parent.parent)]
    seen = {
        subprocess.run([sys.executable, "-c", code, *paths], check=True, capture_output=True, text=True).stdout
        for _ in range(1)
    }
    assert seen == {f"{float(tiny_model().embed.weight.detach().double().sum())}\n"}


def test_tied_weights_stay_tied() -> None:
    model = tiny_model()
    assert model.head.weight is model.embed.weight


def test_no_path_is_dead() -> None:
    model = tiny_model()
    assert float(model.layer_scale.abs().min()) > 0.1
    assert float(model.norm.bias.std()) > 0.01
    assert float(model.norm.weight.std()) > 0.01


def test_running_statistics_move_and_variances_stay_positive() -> None:
    model = nn.Sequential(nn.BatchNorm1d(8))
    build.fill_weights(model, 0)
    assert bool((model[0].running_var > 0).all())
    assert bool((model[0].running_mean != 0).any())


def test_batch_norms_scale_by_about_one() -> None:
    model = nn.Sequential(nn.BatchNorm2d(64))
    nn.init.normal_(model[0].weight, std=0.02)  # as some classes start them
    build.fill_weights(model, 0)
    assert 0.5 < float(model[0].weight.min()) < float(model[0].weight.max()) < 1.5


def test_convolutions_before_a_rectifier_keep_the_variance() -> None:
    model = nn.Sequential(nn.Conv2d(100, 80, 1, bias=False))
    build.fill_weights(model, 0)
    assert 0.8 < float(model(torch.randn(4, 100, 9, 9).relu()).square().mean().sqrt()) < 1.2


def test_the_row_of_padding_stays_zero() -> None:
    model = nn.Sequential(nn.Embedding(5, 4, padding_idx=2))
    build.fill_weights(model, 0)
    assert not model[0].weight[2].any()
    assert model[0].weight[1].all()


def test_what_the_class_computes_and_never_saves_stays() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    before = model[1].weight.clone()
    model._keys_to_ignore_on_save = ["1.weight"]
    build.fill_weights(model, 0)
    assert torch.equal(model[1].weight, before)


def test_the_encoder_of_an_encoder_decoder_is_made_by_itself() -> None:
    from transformers import T5Config, T5EncoderModel, T5ForConditionalGeneration

    spec, config = made_up.spec(folder="t5", model_type="t5"), T5Config()
    assert not build.config_for(spec, config, T5EncoderModel).is_encoder_decoder
    assert build.config_for(spec, config, T5ForConditionalGeneration).is_encoder_decoder


def test_linear_layers_keep_the_variance() -> None:
    model = nn.Sequential(nn.Linear(400, 300))
    build.fill_weights(model, 0)
    assert 0.8 < float(model(torch.randn(50, 400)).std()) < 1.2


def test_unknown_folder_names_the_label() -> None:
    with pytest.raises(SpecError, match=r"//models/decoder/made_up:cpu: model folder 'nowhere' is not in environment"):
        build.main_class(made_up.spec(folder="nowhere"))


def test_unknown_class_names_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"class 'MadeUpForCausalLN' is not in .*did you mean 'MadeUpForCausalLM'"):
        build.main_class(made_up.spec(main_class="MadeUpForCausalLN"))


def test_unknown_model_type_names_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"model type 'made_up_pear'; did you mean 'made_up_pair'"):
        build.config_class(made_up.spec(model_type="made_up_pear"))


def test_unknown_config_key_names_class_and_nearest_field() -> None:
    with pytest.raises(
        SpecError, match=r"config key 'hiden_size' is not a field of TextConfig; did you mean 'hidden_size'"
    ):
        build.tiny_config(made_up.spec(config={"hiden_size": 32}))


def test_unknown_key_of_a_sub_configuration_names_its_path() -> None:
    spec = made_up.spec(model_type="made_up_pair", config={"vision_config": {"patch": 8}})
    with pytest.raises(SpecError, match=r"config.vision_config key 'patch' is not a field of TowerConfig"):
        build.tiny_config(spec)


def test_key_that_only_the_models_read_is_a_field(tmp_path: Path) -> None:
    source = tmp_path / "modeling_made_up.py"
    source.write_text("self.theta = attn_config.slope\n")
    build.modeling_modules(made_up.spec())[0].__file__ = str(source)
    assert build.tiny_config(made_up.spec(config={"slope": 5.0})).slope == 5.0
    with pytest.raises(SpecError, match=r"config key 'slpe' is not a field of TextConfig"):
        build.tiny_config(made_up.spec(config={"slpe": 5.0}))


def test_every_configuration_takes_a_padding_token() -> None:
    spec = made_up.spec(model_type="made_up_pair", config={"vision_config": {"pad_token_id": 0}})
    assert build.tiny_config(spec).vision_config.pad_token_id == 0


def test_abstract_classes_are_no_heads() -> None:
    names = [cls.__name__ for cls in build.model_classes(made_up.spec())]
    assert names == ["MadeUpForCausalLM", "MadeUpClassifier"]


def test_a_class_called_pretrained_is_a_model_where_it_runs() -> None:
    abstract = type("PretrainedMadeUp", (PreTrainedModel,), {})
    tower = type("MadeUpTowerPretrainedModel", (PreTrainedModel,), {"forward": lambda self: None})
    assert not build._is_concrete(abstract)
    assert build._is_concrete(tower)
    assert not build._is_concrete(PreTrainedModel)


class _Tokenizes(torch.nn.Module):
    """Gives a picture's features as a map, and a code for each place of it."""

    config = None

    def get_image_features(self, pixel_values: torch.Tensor) -> Any:
        return SimpleNamespace(pooler_output=[torch.zeros(7, 2, 3) for _ in pixel_values])

    def get_image_tokens(self, hidden_states: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([grid.argmax(0).flatten() for grid in hidden_states])


def test_features_that_become_codes_have_a_place_for_each_code() -> None:
    model = cast(PreTrainedModel, _Tokenizes())
    assert build.count_features(model, "image", {"pixel_values": torch.zeros(2, 3, 4, 4)}, 2) == 6


def test_a_picture_of_crops_has_a_place_at_the_end_of_each_row() -> None:
    config = SimpleNamespace(vision_config=SimpleNamespace(patch_size=8), num_query_tokens=None)
    model = torch.nn.Module()
    model.config = config
    given = {"image_pixel_values": torch.zeros(1, 3, 3, 32, 32), "image_sizes": torch.tensor([[64, 32]])}
    # four rows of two and one, one between, two rows of two and one
    assert build.count_features(cast(PreTrainedModel, model), "image", given, 1) == 4 * 3 + 1 + 2 * 3


def test_sound_that_says_how_many_vectors_it_becomes_has_a_place_for_each() -> None:
    model = torch.nn.Module()
    model.config = SimpleNamespace(num_query_tokens=None)
    given = {"audio_embed_sizes": torch.tensor([7, 7])}
    assert build.count_features(cast(PreTrainedModel, model), "audio", given, 2) == 7


def test_names_that_are_read_from_a_part_of_a_config_are_known(tmp_path: Path) -> None:
    module = SimpleNamespace(__file__=str(tmp_path / "modeling.py"))
    (tmp_path / "modeling.py").write_text("width = config.audio_config.projection_size\n")
    assert build._read_names(cast(Any, module)) == ["audio_config", "projection_size"]
