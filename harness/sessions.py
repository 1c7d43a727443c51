"""Video models that track objects through a session, as models of tensors: videos and clicks or words in, masks out.

`Sam2VideoModel.forward` and its siblings' take one frame of an `inference_session`, an object that holds the video,
what is looked for and what was seen so far. A cell knows tensors: here their `forward` makes one session for each
video of a batch, gives it the clicks on the first frame or the words, and goes through the frames in order, as users
do.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from transformers.utils.generic import ModelOutput

SESSION = "inference_session"


def takes_session(cls: type[Any]) -> bool:
    """Returns whether a class's `forward` takes a session."""
    return SESSION in inspect.signature(cls.forward).parameters


def over_frames(cls: type[Any]) -> Callable[..., Any]:
    """Returns the `forward` of tensors for a class whose own takes a session."""
    track = cls.forward
    session_class = typing.get_type_hints(inspect.unwrap(track))[SESSION]
    make = _from_words if hasattr(session_class, "add_prompt") else _from_clicks
    return make(track, session_class)


def _from_clicks(track: Callable[..., Any], session_class: type[Any]) -> Callable[..., Any]:
    """Returns the `forward` of a class that is shown with clicks on a first frame what it is to follow."""

    def forward(
        self: Any,
        pixel_values_videos: Tensor,
        input_points: Tensor,
        input_labels: Tensor,
        return_dict: bool = True,
    ) -> Any:
        """Returns masks (batch, frames, objects, height, width) and whether an object is seen (batch, frames, objects).

        Args:
          self: the model.
          pixel_values_videos: (batch, frames, channels, height, width).
          input_points: (batch, objects, points, 2), in pixels of the first frame.
          input_labels: (batch, objects, points), of each point whether it is on its object.
        """
        rows = zip(pixel_values_videos, input_points, input_labels, strict=True)
        masks, scores = _stacked(_clicked_on(self, track, _session(session_class, row[0]), *row) for row in rows)
        outputs = ModelOutput(pred_masks=masks, object_score_logits=scores)
        return outputs if return_dict else outputs.to_tuple()

    return forward


def _from_words(track: Callable[..., Any], session_class: type[Any]) -> Callable[..., Any]:
    """Returns the `forward` of a class that finds what it is told in words, and follows it."""

    def forward(
        self: Any, pixel_values_videos: Tensor, input_ids: Tensor, attention_mask: Tensor, return_dict: bool = True
    ) -> Any:
        """Returns masks (batch, frames, objects, height, width) and how sure it is of each (batch, frames, objects).

        The objects are those that it finds in the first frame: each video of the batch must have as many.

        Args:
          self: the model.
          pixel_values_videos: (batch, frames, channels, height, width).
          input_ids: (batch, tokens), one text for each video.
          attention_mask: (batch, tokens).
          return_dict: whether to return them by name.
        """
        rows = zip(pixel_values_videos, input_ids, attention_mask, strict=True)
        masks, scores = _stacked(_told(self, track, _session(session_class, row[0]), *row) for row in rows)
        outputs = ModelOutput(pred_masks=masks, object_scores=scores)
        return outputs if return_dict else outputs.to_tuple()

    return forward


def _session(session_class: type[Any], video: Tensor) -> Any:
    """Returns a session for one video."""
    return session_class(video=video, video_height=video.shape[-2], video_width=video.shape[-1], dtype=video.dtype)


def _stacked(rows: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
    """Returns the masks of all rows and their scores."""
    return tuple(torch.stack(each) for each in zip(*rows, strict=True))


def _clicked_on(
    model: Any, track: Callable[..., Any], session: Any, video: Tensor, points: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns masks and scores of the objects of one video, frame after frame."""
    for number in range(points.shape[0]):
        clicks = {"point_coords": points[None, None, number], "point_labels": labels[None, None, number]}
        session.add_point_inputs(session.obj_id_to_idx(number), 0, clicks)
        session.obj_with_new_inputs.append(number)
    frames = [track(model, inference_session=session, frame_idx=frame) for frame in range(video.shape[0])]
    masks = torch.stack([frame.pred_masks.squeeze(1) for frame in frames])
    return masks, torch.stack([frame.object_score_logits.squeeze(-1) for frame in frames])


def _told(
    model: Any, track: Callable[..., Any], session: Any, video: Tensor, words: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns masks and scores of the objects that were found in the first frame of one video, frame after frame."""
    prompt = session.add_prompt("what is looked for")  # a name of the tokens, which a processor would make of it
    session.prompt_input_ids[prompt], session.prompt_attention_masks[prompt] = words[None], mask[None]
    frames = [track(model, inference_session=session, frame_idx=frame) for frame in range(video.shape[0])]
    found = frames[0].object_ids
    masks = torch.stack([torch.cat([frame.obj_id_to_mask[each] for each in found]) for frame in frames])
    return masks, masks.new_tensor([[frame.obj_id_to_tracker_score[each] for each in found] for frame in frames])
