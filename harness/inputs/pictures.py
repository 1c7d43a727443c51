"""Pictures and videos, in the shapes that models take them in, and prompts that point at them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness import shrink
from harness.inputs.configs import first, node_with, placeholder
from harness.inputs.request import POINTS, PROMPTS, REGIONS, VIDEO_FRAMES, Request, default_of
from harness.inputs.text import row_shape


def _vision(config: Any) -> Any:
    """Returns the configuration that knows the size of pictures."""
    return node_with(config, "image_size") or node_with(config, "num_channels") or config


def picture_side(request: Request) -> tuple[int, int]:
    """Returns height and width of a picture, pixels."""
    declared = request.options.get("image_size")
    value = declared if declared is not None else getattr(_vision(request.config), "image_size", None)
    if isinstance(value, (list, tuple)):
        return int(value[0]), int(value[-1])
    return (int(value), int(value)) if isinstance(value, int) else (shrink.IMAGE_SIDE, shrink.IMAGE_SIDE)


def _channels(config: Any) -> int:
    value = next(
        (
            v
            for name in ("num_channels", "in_channels", "in_chans")
            if isinstance(v := getattr(_vision(config), name, None), int)
        ),
        None,
    )
    return value if value is not None else int(first(config, "num_channels") or 3)


def make_picture(request: Request, name: str, *lead: int) -> Tensor:
    """Returns noise in the shape of a picture (…, channels, height, width)."""
    height, width = picture_side(request)
    return request.noise(name, *lead, _channels(request.config), height, width)


def pixel_values(request: Request, made: dict[str, Tensor]) -> Tensor:
    """Pictures (batch, channels, height, width); tiles or frames before the channels; rows of patches with a grid."""
    if {"image_position_ids", "pixel_position_ids"} & set(request.parameters):
        return _placed_patches(request, "pixel_values")
    if {"image_grid_thw", "grid_thw"} & set(request.parameters):
        return _patch_rows(request, "pixel_values")
    if "target_sizes" in request.parameters:
        return _packed_patches(request, "pixel_values")
    tower = "input_ids" not in request.parameters and hasattr(request.config, "num_position_embeddings")
    if "image_token_pooling" in request.parameters or tower:  # a place for each patch, and patches given as such
        return _pooled_patches(request, "pixel_values")
    if _grid_alone(request):
        return _patch_rows(request, "pixel_values")
    if "spatial_shapes" in request.parameters:  # a batch of rows of patches, each picture with a shape of its own
        return _patch_rows(request, "pixel_values").unflatten(0, (request.batch, -1))
    if first(request.config, "image_grid_pinpoints") and "image_sizes" in request.parameters:
        return make_picture(request, "pixel_values", request.batch, _tiles(request))
    if request.cls.__name__.endswith("ForKeypointMatching"):  # pairs of pictures
        return make_picture(request, "pixel_values", request.batch, 2)
    frames = getattr(_vision(request.config), "num_frames", None)
    if isinstance(frames, int) and request.cls.__name__.endswith("VisionModel"):  # a tower reads frames as rows
        return make_picture(request, "pixel_values", request.batch * request.size("video_frames", frames))
    if isinstance(frames, int) and "ForImage" not in request.cls.__name__:
        return make_picture(request, "pixel_values", request.batch, request.size("video_frames", frames))
    if placeholder(request.config, "image") is None and placeholder(request.config, "video") is not None:
        return make_picture(request, "pixel_values", request.batch, request.size("video_frames", VIDEO_FRAMES))
    images = getattr(request.config, "num_images", None)
    if request.cls.__name__.endswith("ForImagesAndTextClassification") and isinstance(images, int):
        return make_picture(request, "pixel_values", request.batch, images)
    several = "pixel_attention_mask" in request.parameters or first(request.config, "pixel_shuffle_factor") is not None
    if several or _looks_across(request):  # several pictures a row
        return make_picture(request, "pixel_values", request.batch, 1)
    return make_picture(request, "pixel_values", request.batch)


def _looks_across(request: Request) -> bool:
    """Returns whether each word may look at any of the pictures of its row, which a mask says (Idefics)."""
    return "image_attention_mask" in request.parameters and first(request.config, "cross_layer_interval") is not None


CROPS = (2, 1)
"""Rows and columns of crops that a picture is cut into, where it is given as such, behind the whole of it."""


def picture_crops(request: Request, made: dict[str, Tensor]) -> Tensor:
    """The picture made small, then its crops (batch, 1 + crops, channels, side, side) (Phi-4)."""
    side = int(first(request.config, "crop_size"))
    crops = 1 + CROPS[0] * CROPS[1]
    return request.noise("image_pixel_values", request.batch, crops, _channels(request.config), side, side)


def image_attention_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Ones for every word and picture (batch, words, pictures); for every patch of a picture's crops."""
    if "image_pixel_values" in made:
        patches = int(first(request.config, "crop_size")) // int(first(request.config, "patch_size"))
        return torch.ones(*made["image_pixel_values"].shape[:2], patches, patches, dtype=torch.long)
    if "input_ids" not in made or not _looks_across(request):
        return None
    return torch.ones(*made["input_ids"].shape, made["pixel_values"].shape[1], dtype=torch.long)


def pixel_attention_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Ones along the pixels of each of a row's pictures."""
    picture = made.get("pixel_values")
    if picture is not None and "spatial_shapes" in request.parameters:  # over rows of patches
        return torch.ones(picture.shape[:2], dtype=torch.long)
    if picture is None or picture.dim() != 5:
        return None
    if "tile_fine_mask" in request.parameters:  # over whole tiles
        return torch.ones(picture.shape[:2], dtype=torch.bool)
    return torch.ones(*picture.shape[:2], *picture.shape[-2:], dtype=torch.bool)


def regions(name: str, *width: str) -> Callable[[Request, dict[str, Tensor]], Tensor | None]:
    """Returns a maker of a detector's features of a picture's regions: noise as wide as a field of `width` says."""

    def make_regions(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        size = first(request.config, *width)
        return request.noise(name, *row_shape(request), REGIONS, int(size)) if isinstance(size, int) else None

    return make_regions


def region_ones(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Ones for every region."""
    found = made.get("visual_feats", made.get("visual_embeds"))
    return torch.ones(found.shape[:-1], dtype=torch.long) if found is not None else None


def _pooled_side(request: Request) -> int:
    """Returns the patches a side of a picture whose patches are given with their places: two windows of pooling."""
    return 2 * int(first(request.config, "pooling_kernel_size") or 1)


def _placed_patches(request: Request, name: str) -> Tensor:
    """Patches (batch, patches, values of the pixels), from 0 to 1."""
    vision = node_with(request.config, "patch_size") or request.config
    features = 3 * int(getattr(vision, "model_patch_size", None) or vision.patch_size) ** 2
    return request.noise(name, request.batch, _pooled_side(request) ** 2, features).sigmoid()


def patch_places(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Column and row of each patch (batch, patches, 2)."""
    if "pixel_values" not in made:
        return None
    side = torch.arange(_pooled_side(request))
    rows, columns = torch.meshgrid(side, side, indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten()], -1).expand(request.batch, -1, -1).contiguous()


def _original_size(request: Request) -> tuple[int, int]:
    """A picture half as high again as it is wide, so that tiling and unpadding have something to do."""
    height, width = picture_side(request)
    return height * 3 // 2, width


def _tiles(request: Request) -> int:
    """Returns how many tiles a picture is cut into, the overview included, by the model's own rule."""
    from transformers.image_processing_utils import select_best_resolution

    pinpoints = [list(point) for point in first(request.config, "image_grid_pinpoints")]
    height, width = select_best_resolution(_original_size(request), pinpoints)
    side = picture_side(request)
    return (height // side[0]) * (width // side[1]) + 1


def image_sizes(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Height and width of each original picture, pixels."""
    if "image_pixel_values" in made:
        return torch.tensor([[crops * made["image_pixel_values"].shape[-1] for crops in CROPS]] * request.batch)
    if "pixel_values" not in made or not _needs_sizes(request):
        return None
    size = _original_size(request) if first(request.config, "image_grid_pinpoints") else picture_side(request)
    return torch.tensor([size] * request.batch)


def _needs_sizes(request: Request) -> bool:
    """Returns whether the pictures' original sizes are needed; some models take them for another backbone's sake."""
    extract = getattr(request.cls, "get_image_features", None)
    size = inspect.signature(extract).parameters.get("image_sizes") if extract is not None else None
    return extract is None or (size is not None and size.default is inspect.Parameter.empty)


def _grid(request: Request, name: str = "pixel_values") -> tuple[int, int, int]:
    """Returns frames, rows and columns of patches of a picture or video that is given as rows of patches."""
    merge = int(first(request.config, "spatial_merge_size") or 2)
    least = int(first(request.config, "temporal_merge_size") or 1)
    frames = request.size("video_frames", least) if "video" in name else 1
    return frames, 2 * merge, 2 * merge


def _patch_rows(request: Request, name: str) -> Tensor:
    vision = node_with(request.config, "patch_size") or request.config
    patch = vision.patch_size if isinstance(vision.patch_size, int) else vision.patch_size[0]
    frames, height, width = _grid(request, name)
    steps = getattr(vision, "temporal_patch_size", None) or getattr(vision, "patch_temporal", None) or 1
    features = _channels(request.config) * int(steps) * patch * patch
    patches = frames * height * width
    if hasattr(request.config, "vlm_config"):  # ColQwen2 pads the patches of each row
        return request.noise(name, request.batch, patches, features)
    return request.noise(name, request.batch * patches, features)


def _packed_patches(request: Request, name: str) -> Tensor:
    """Patches of the pictures of all rows, side by side in one (1, channels, height of a patch, width)."""
    patch = int(node_with(request.config, "patch_size").patch_size)
    _, height, width = _grid(request)
    return request.noise(name, 1, _channels(request.config), patch, request.batch * height * width * patch)


def _grid_alone(request: Request) -> bool:
    """Returns whether pictures among words are rows of patches with a grid of rows and columns, frames not counted."""
    return {"image_grid_hw", "input_ids"} <= {*request.parameters}


def grid_of_rows_and_columns(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Rows and columns of patches of each picture (batch, 2), where pictures are rows of patches."""
    if "pixel_values" not in made or not _grid_alone(request):
        return None
    return torch.tensor([_grid(request)[1:]] * request.batch)


# ---------------------------------------------------------------------------------------------------------------------
# Patches that are pooled by their numbers: crops of a picture, or frames of a video, as (crops, patches, pixels).

POOLED = 2
"""Patches a side of what becomes one vector, and crops of a picture (the whole of it, and one) or frames of a video."""

POOLINGS = {"image_token_pooling": "pixel_values", "video_token_pooling": "pixel_values_videos"}
"""Inputs that number the patches of another one, over all rows of the batch."""


def _crop_patches(request: Request) -> int:
    """Returns how many patches a side of a crop has."""
    return picture_side(request)[0] // int(first(request.config, "patch_size"))


def _pooled_patches(request: Request, name: str) -> Tensor:
    """The patches of the crops of all rows (crops, patches, values of the pixels)."""
    features = _channels(request.config) * int(first(request.config, "patch_size")) ** 2
    return request.noise(name, request.batch * POOLED, _crop_patches(request) ** 2, features)


def pooling_of(name: str) -> Callable[[Request, dict[str, Tensor]], Tensor | None]:
    """Returns a maker of the numbers of the patches that become one vector (vectors, patches), counted over all rows.

    The last vector of each row lacks a patch (-1), as at the edge of a picture.
    """

    def make_pooling(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        if name not in made:
            return None
        crops, side = len(made[name]), _crop_patches(request)
        numbers = torch.arange(crops * side * side).view(crops, side // POOLED, POOLED, side // POOLED, POOLED)
        windows = numbers.transpose(2, 3).reshape(request.batch, -1, POOLED * POOLED)
        windows[:, -1, -1] = -1
        return windows.flatten(0, 1)

    return make_pooling


def pooled_grid(name: str) -> Callable[[Request, dict[str, Tensor]], Tensor | None]:
    """Returns a maker of how the vectors lie: rows and columns of the whole and of the crops, or frames before them."""

    def make_grid(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        side = _crop_patches(request) // POOLED
        grid = [POOLED, side, side] if "video" in name else [side, side, side, side]
        return torch.tensor([grid] * request.batch) if name in made else None

    return make_grid


def target_sizes(name: str) -> Callable[[Request, dict[str, Tensor]], Tensor | None]:
    """Returns a maker of rows and columns of patches of each picture that is packed into an input (MiniCPM-V)."""

    def make_sizes(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        return torch.tensor([_grid(request)[1:]] * request.batch) if name in made else None

    return make_sizes


def shapes(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Rows and columns of patches of each picture (SigLIP 2)."""
    return torch.tensor([_grid(request)[1:]] * request.batch) if "pixel_values" in made else None


def merge_sizes(name: str) -> Callable[[Request, dict[str, Tensor]], Tensor | None]:
    """Returns a maker of how many patches a side become one, for each picture or video of an input."""

    def make_sizes(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        return torch.full((request.batch,), _grid(request)[1] // 2) if name in made else None

    return make_sizes


def flattened_patches(request: Request, made: dict[str, Tensor]) -> Tensor:
    """Rows of patches, each behind the row and the column that it stands in, counted from 1 (Pix2Struct)."""
    _, rows, columns = _grid(request)
    width = int(first(request.config, "patch_embed_hidden_size"))
    patches = request.noise("flattened_patches", request.batch, rows * columns, 2 + width)
    places = torch.cartesian_prod(torch.arange(1, rows + 1), torch.arange(1, columns + 1))
    patches[..., :2] = places
    return patches


def grid_of(*names: str) -> Callable[[Request, dict[str, Tensor]], Tensor | None]:
    """Returns a maker of the grids of the patches in one of the named inputs, one picture or video a row."""

    def make_grid(request: Request, made: dict[str, Tensor]) -> Tensor | None:
        found = next((name for name in names if name in made), None)
        if found is None:
            return None
        grid = _grid(request, found)
        return torch.tensor([grid, *_grids_to_fill(request, grid)] * request.batch)

    return make_grid


def _grids_to_fill(request: Request, grid: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Returns the grid of the picture that a row is to be answered with, one row of patches higher than that given."""
    frames, height, width = grid
    return [(frames, height + 1, width)] if "images_per_sample" in request.parameters else []


def grids_of_each_row(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """How many grids each row has (batch,): those of its pictures, and that of the picture to be made (GLM-Image)."""
    grids = made.get("image_grid_thw")
    return None if grids is None else torch.full((request.batch,), len(grids) // request.batch)


def tower_input(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """What a tower calls its hidden states: rows of patches, a picture, or features of an earlier tower."""
    if "grid_thw" in request.parameters:
        return _patch_rows(request, "hidden_states")
    main = getattr(request.cls, "main_input_name", None)
    if main == "pixel_values" and main not in request.parameters:
        return make_picture(request, "hidden_states", request.batch)
    if main == "hidden_states":
        return request.noise("hidden_states", request.batch, request.length, int(request.config.hidden_size))
    return None


def pixel_mask(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Ones along the pixels of each picture."""
    picture = made.get("pixel_values")
    return (
        torch.ones(*picture.shape[:-3], *picture.shape[-2:], dtype=torch.long)
        if picture is not None and picture.dim() >= 4
        else None
    )


def pixel_values_videos(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Videos (batch, frames, channels, height, width) where they stand among the words or are all that is taken."""
    required = default_of(request.cls, "pixel_values_videos") is inspect.Parameter.empty
    if placeholder(request.config, "video") is None and "input_ids" in request.parameters and not required:
        return None
    if "video_grid_thw" in request.parameters:
        return _patch_rows(request, "pixel_values_videos")
    if "target_sizes_videos" in request.parameters:
        return _packed_patches(request, "pixel_values_videos")
    if "video_token_pooling" in request.parameters:
        return _pooled_patches(request, "pixel_values_videos")
    if _grid_alone(request):  # beside such pictures the frames of all rows stand in one tensor (Nemotron H Omni)
        frames = request.batch * request.size("video_frames", VIDEO_FRAMES)
        return make_picture(request, "pixel_values_videos", frames)
    frames = getattr(_vision(request.config), "num_frames", None) or VIDEO_FRAMES
    return make_picture(request, "pixel_values_videos", request.batch, request.size("video_frames", int(frames)))


def high_resolution(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """The same pictures larger, for a tower of their own."""
    tower = getattr(request.config, "high_res_vision_config", None)
    side = getattr(tower, "image_size", None)
    if not isinstance(side, int):
        return None
    return request.noise("high_res_pixel_values", request.batch, _channels(tower), side, side)


def condition(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """A picture as the condition, where text is not."""
    if "input_ids" in request.parameters:
        return None
    return make_picture(request, "conditional_pixel_values", request.batch)


def masked_patches(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Masks a random half of each row's patches where that is what the class learns from."""
    if not request.cls.__name__.endswith(("ForMaskedImageModeling", "ForPreTraining")):
        return None
    patch = getattr(_vision(request.config), "patch_size", None)
    if patch is None:
        return None
    (height, width), step = picture_side(request), patch if isinstance(patch, int) else patch[0]
    count = (height // step) * (width // step)
    tubes = node_with(request.config, "num_frames", "tubelet_size")
    if tubes is not None:
        count *= int(tubes.num_frames) // int(tubes.tubelet_size)
    return request.noise("bool_masked_pos", request.batch, count).argsort(dim=1) < count // 2


def prompt_depth(request: Request, made: dict[str, Tensor]) -> Tensor:
    """A coarse map of distances (batch, 1, height, width), a quarter as fine as the picture."""
    height, width = picture_side(request)
    return request.noise("prompt_depth", request.batch, 1, height // 4, width // 4).abs()


def masking_noise(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """What decides which patches are masked (batch, patches): drawn anew in each call where it is not given."""
    single = getattr(request.config, "mask_ratio", None) and not hasattr(request.config, "masked_unit_size")
    count = shrink.patch_count(_vision(request.config)) if single else 0
    return torch.rand(request.batch, count, generator=request.generator("noise")) if count else None


def image_positions(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Marks where among the words the pictures' features go, after the first word."""
    count = first(request.config, "latent_query_num")
    if count is None or "input_ids" not in made:
        return None
    mask = torch.zeros(made["input_ids"].shape, dtype=torch.long)
    mask[:, 1 : 1 + int(count)] = 1
    return mask


def _scaled(request: Request, corners: Tensor) -> Tensor:
    """Returns places (…, x, y, x, y, …) of 0 to 1 in pixels of a picture."""
    height, width = picture_side(request)
    return corners * torch.tensor([width, height] * (corners.shape[-1] // 2), dtype=torch.float32)


def input_points(request: Request, made: dict[str, Tensor]) -> Tensor:
    """Points in pixels (batch, prompts, points, 2): each prompt asks for an object of its own."""
    places = torch.rand((request.batch, PROMPTS, POINTS, 2), generator=request.generator("input_points"))
    return _scaled(request, places)


def input_labels(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Whether a point is on the object (1), beside it (0), or is no point (-1): one of each."""
    return torch.tensor([1, 0, -1]).expand(made["input_points"].shape[:3]).clone() if "input_points" in made else None


def input_boxes(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """Boxes in pixels (batch, prompts, 4) as left, top, right, bottom, one for each prompt that has points."""
    if "input_points" not in made:
        return None
    places = torch.rand((request.batch, PROMPTS, 4), generator=request.generator("input_boxes"))
    return _scaled(request, torch.cat([places[..., :2] * 0.5, 0.5 + places[..., 2:] * 0.5], dim=-1))


def input_masks(request: Request, made: dict[str, Tensor]) -> Tensor | None:
    """A coarse mask (batch, 1, height, width) to start from, four places for each of the picture's features."""
    prompts = node_with(request.config, "mask_input_channels", "image_size", "patch_size")
    if prompts is None or "input_points" not in made:
        return None
    side = 4 * (int(prompts.image_size) // int(prompts.patch_size))
    return request.noise("input_masks", request.batch, 1, side, side)
