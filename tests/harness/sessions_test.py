"""A model that tracks through a session is run as one of tensors, video by video and frame by frame."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from harness import sessions


class Session:
    """Keeps what it is given."""

    def __init__(self, video: Tensor, video_height: int, video_width: int, dtype: torch.dtype) -> None:
        assert (video_height, video_width) == tuple(video.shape[-2:])
        self.video = video
        self.clicks: list[tuple[int, int, Any]] = []
        self.obj_with_new_inputs: list[int] = []

    def obj_id_to_idx(self, number: int) -> int:
        """Returns the place of an object."""
        return number

    def add_point_inputs(self, number: int, frame: int, inputs: dict[str, Tensor]) -> None:
        """Keeps the clicks on an object."""
        self.clicks.append((number, frame, inputs))


class Tracker:
    """Answers with the sum of a frame and of each object's clicks."""

    def forward(self, inference_session: Session, frame_idx: int | None = None) -> Any:
        """Returns masks (objects, 1, 1, 1) and scores (objects, 1)."""
        assert frame_idx is not None
        assert [(number, frame) for number, frame, _ in inference_session.clicks] == [(0, 0), (1, 0)]
        seen = inference_session.video[frame_idx].sum()
        found = torch.stack([seen + each["point_coords"].sum() for _, _, each in inference_session.clicks])
        return SimpleNamespace(pred_masks=found[:, None, None, None], object_score_logits=found[:, None])


def test_each_video_has_a_session_and_its_frames_are_gone_through_in_order() -> None:
    assert sessions.takes_session(Tracker)
    run = sessions.over_frames(Tracker)
    videos, points = torch.randn(2, 3, 1, 4, 4), torch.randn(2, 2, 5, 2)
    given = {"pixel_values_videos": videos, "input_points": points, "input_labels": torch.ones(2, 2, 5)}
    outputs = run(Tracker(), **given)
    expected = videos.sum((2, 3, 4))[:, :, None] + points.sum((2, 3))[:, None]
    torch.testing.assert_close(outputs.object_score_logits, expected)
    torch.testing.assert_close(outputs.pred_masks[..., 0, 0], expected)
    assert [tensor.shape for tensor in run(Tracker(), **given, return_dict=False)] == [(2, 3, 2, 1, 1), (2, 3, 2)]


class Told(Session):
    """Keeps the words it is given."""

    def __init__(self, video: Tensor, video_height: int, video_width: int, dtype: torch.dtype) -> None:
        super().__init__(video, video_height, video_width, dtype)
        self.prompt_input_ids: dict[int, Tensor] = {}
        self.prompt_attention_masks: dict[int, Tensor] = {}

    def add_prompt(self, text: str) -> int:
        """Returns the number of a text."""
        return 7


class Finder:
    """Finds two objects in the first frame and a third later, and gives them the sum of a frame and the words."""

    def forward(self, inference_session: Told, frame_idx: int | None = None) -> Any:
        """Returns masks (1, 1, 1) and scores by object."""
        assert frame_idx is not None
        words, mask = inference_session.prompt_input_ids[7], inference_session.prompt_attention_masks[7]
        assert words.shape == mask.shape == (1, 4)
        seen = inference_session.video[frame_idx].sum() + (words * mask).sum()
        ids = [4, 2] if frame_idx == 0 else [2, 4, 5]
        masks = {number: (seen + number)[None, None, None] for number in ids}
        return SimpleNamespace(
            object_ids=ids,
            obj_id_to_mask=masks,
            obj_id_to_tracker_score={number: float(mask) for number, mask in masks.items()},
        )


def test_what_is_told_in_words_is_followed_from_the_first_frame() -> None:
    run = sessions.over_frames(Finder)
    videos, words, mask = torch.randn(2, 3, 1, 4, 4), torch.arange(8).view(2, 4), torch.tensor([[1, 1, 1, 0]] * 2)
    outputs = run(Finder(), pixel_values_videos=videos, input_ids=words, attention_mask=mask)
    seen = videos.sum((2, 3, 4)) + (words * mask).sum(1)[:, None]
    expected = seen[:, :, None] + torch.tensor([4, 2])
    torch.testing.assert_close(outputs.object_scores, expected)
    torch.testing.assert_close(outputs.pred_masks[..., 0, 0], expected)


def test_a_forward_of_tensors_takes_no_session() -> None:
    class Tensors:
        def forward(self, pixel_values: Tensor) -> None:
            """Only the signature counts."""

    assert not sessions.takes_session(Tensors)
