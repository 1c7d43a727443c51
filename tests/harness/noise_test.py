"""`noise`: where a model keeps its probabilities of dropping, and setting them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from harness import noise


class _DropPath(nn.Module):
    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn_drop = nn.Dropout(0.1)
        self.drop_path = _DropPath(0.2)
        self.activation_dropout = 0.3
        self.norm = nn.BatchNorm1d(2)
        self.spare = nn.Dropout(0.4)
        self.never = nn.Dropout(0.0)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.drop_path(nn.functional.dropout(states, self.activation_dropout, self.training))


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_Layer(), _Layer()])
        self.layerdrop = 0.5
        self.token_dropout = True
        self.unused = _Layer()

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            states = layer(states)
        return states


def test_probabilities_are_found_by_kind_and_by_name_layers_together() -> None:
    found = noise.probabilities(_Model()).places
    layers = ("activation_dropout", "attn_drop", "drop_path", "spare")
    expected = {"layerdrop", *(f"{place}.{name}" for place in ("layers.*", "unused") for name in layers)}
    assert found.keys() == expected
    assert [len(found[name]) for name in ("layers.*.drop_path", "layerdrop")] == [2, 1]


def test_a_value_of_a_noisy_config_is_known_by_itself() -> None:
    from transformers import BertConfig

    model = _Model()
    model.config = noise.noisy(BertConfig()).hidden_dropout_prob
    model.rate = 0.051
    assert noise.probabilities(model).places["config"] == [(model, "config")]
    assert "rate" not in noise.probabilities(model).places


def test_in_training_each_has_another_value_or_none_and_gets_back_its_own() -> None:
    model = _Model().eval()
    found = noise.probabilities(model)
    for quiet in (True, False):
        with noise.training(model, found, quiet=quiet):
            assert model.training
            assert not model.layers[0].norm.training
            values = [model.layerdrop, model.layers[1].attn_drop.p, model.layers[1].drop_path.drop_prob]
        keys = ("layerdrop", "layers.*.attn_drop", "layers.*.drop_path")
        assert values == ([0, 0, 0] if quiet else [found.value(key) for key in keys])
    assert len({found.value(key) for key in found.places}) == len(found.places)
    assert not model.training
    assert [model.layerdrop, model.layers[1].attn_drop.p, model.layers[1].drop_path.drop_prob] == [0.5, 0.1, 0.2]


def test_what_dropouts_are_called_with_is_seen() -> None:
    states = torch.ones(1, 1, 3, 2)
    with noise.drawn() as drawn:
        nn.Dropout(0.1)(states)
        nn.functional.dropout(states, 0.2, training=False)
        nn.functional.scaled_dot_product_attention(states, states, states, dropout_p=0.3)
    assert drawn == {0.1, 0.3}
    with noise.drawn() as later:
        pass
    nn.Dropout(0.4)(states)
    assert not later


def test_what_did_not_run_is_not_in_use_and_a_forgotten_dropout_is() -> None:
    model = _Model()
    with noise.watched() as used:
        model(torch.ones(3, 2))
    found = noise.in_use(model, noise.probabilities(model), used)
    assert {"layerdrop", "layers.*.spare", "layers.*.activation_dropout"} <= set(found)
    assert not [name for name in found if name.startswith("unused")]


def test_a_field_is_in_use_that_is_read_or_that_no_module_keeps_and_a_forward_must_read() -> None:
    from transformers import Wav2Vec2Config

    config = noise.noisy(Wav2Vec2Config())
    model = _Model()
    model.config = config
    model.layerdrop = config.layerdrop
    found = noise.probabilities(model)
    assert found.owed == {f"Wav2Vec2Config.mask_{what}_prob" for what in ("time", "feature")}
    with noise.watched() as used:
        assert config.final_dropout > 0
    assert set(noise.in_use(model, found, used)) == {*found.owed, "Wav2Vec2Config.final_dropout"}


def test_a_noisy_config_has_no_zero_and_no_value_twice() -> None:
    from transformers import ConvNextConfig, Wav2Vec2Config

    quiet: dict[str, Any] = {"layerdrop": 0.0, "mask_feature_prob": 0.0, "hidden_dropout": 0.1}
    config = Wav2Vec2Config(**quiet, apply_spec_augment=False)
    found = noise.noisy(config)
    names = [name for name, value in vars(found).items() if noise.is_probability(name, value)]
    values = [getattr(found, name) for name in names]
    assert {*quiet, "mask_time_prob"} <= set(names)
    assert found.apply_spec_augment
    assert min(values) > 0
    assert len(set(values)) == len(values)
    assert config.layerdrop == 0
    assert noise.noisy(ConvNextConfig()).drop_path_rate > 0
