"""Video models that track objects through a session, as models of tensors: videos and clicks in, masks out.

`Sam2VideoModel.forward` and its siblings' take one frame of an `inference_session`, an object that holds the video,
what was clicked on and what was seen so far. A cell knows tensors: here their `forward` makes one session for each
video of a batch, gives it the clicks on the first frame, and goes through the frames in order, as users do.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
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
        tracked = [
            _track(self, track, session_class, *row)
            for row in zip(pixel_values_videos, input_points, input_labels, strict=True)
        ]
        masks, scores = (torch.stack(each) for each in zip(*tracked, strict=True))
        outputs = ModelOutput(pred_masks=masks, object_score_logits=scores)
        return outputs if return_dict else outputs.to_tuple()

    return forward


def _track(
    model: Any, track: Callable[..., Any], session_class: type[Any], video: Tensor, points: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns masks and scores of the objects of one video, frame after frame."""
    session = session_class(video=video, video_height=video.shape[-2], video_width=video.shape[-1], dtype=video.dtype)
    for number in range(points.shape[0]):
        clicks = {"point_coords": points[None, None, number], "point_labels": labels[None, None, number]}
        session.add_point_inputs(session.obj_id_to_idx(number), 0, clicks)
        session.obj_with_new_inputs.append(number)
    frames = [track(model, inference_session=session, frame_idx=frame) for frame in range(video.shape[0])]
    masks = torch.stack([frame.pred_masks.squeeze(1) for frame in frames])
    return masks, torch.stack([frame.object_score_logits.squeeze(-1) for frame in frames])
