"""One rule of resizing, held against Pillow and torchvision; fast reading of JPEG files, held against reading them in full."""

import dataclasses
import io
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import v2

from regulo.core.resize import Box, CenterBox, RandomBox, Resize, WholeBox, resize_image
from regulo.core.types import DatasetInfo, Split
from regulo.data.components import jpeg
from regulo.data.components.dataset import BatchedImages, channels_first, stack_channels_first
from regulo.data.components.file_images import FileImages
from regulo.data.components.image_io import read_image, read_resized
from regulo.regularizers.augment import Augment

INFO = DatasetInfo(3, 32, 32, ("a", "b"), (0.5,) * 3, (0.2,) * 3)


def scene(height: int = 300, width: int = 420, seed: int = 0) -> np.ndarray:
    """A smooth picture with edges, (H, W, 3) uint8, in which every place looks different."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), "uint8"))
    picture = np.array(small.resize((width, height), Image.Resampling.BICUBIC))
    picture[height // 3 : height // 2, width // 5 : width // 3] = (250, 20, 40)
    return picture


def encode(picture: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", **({"quality": 92} | options))
    return buffer.getvalue()


def save(folder: Path, content: bytes) -> bytes:
    file = folder / "photo.jpg"
    file.write_bytes(content)
    return os.fsencode(file)


def exif(orientation: int) -> bytes:
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


# ---- the rule


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(20, 20), (64, 40), (500, 300)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_is_that_of_pillow(size: tuple[int, int], channels: int, interpolation: str) -> None:
    image = scene()[40:260, 30:400, :channels]
    method = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    expected = np.asarray(Image.fromarray(image.squeeze()).resize(size[::-1], method)).reshape(*size, channels)
    resized = resize_image(image, *size, interpolation)  # type: ignore[arg-type]
    difference = np.abs(resized.astype(int) - expected)  # both have weights of 16 bits
    assert difference.max() <= 2
    assert (difference > 1).mean() < 1e-3


@pytest.mark.parametrize("image_size", [(300, 420), (420, 300), (301, 301), (64, 97), (9, 11), (1, 16)], ids=str)
def test_the_center_box_is_resizing_the_shorter_side_and_cropping_the_center(image_size: tuple[int, int]) -> None:
    top, left, height, width = CenterBox(7 / 8)(image_size, (56, 56), Random())
    shorter = min(image_size)
    assert height == width == max(1, round(shorter * 56 / 64))
    assert abs(2 * top + height - image_size[0]) <= 1, "in the middle"
    assert abs(2 * left + width - image_size[1]) <= 1
    if shorter >= 300:
        image = scene(*image_size)
        ours = Resize(56, 56, CenterBox(7 / 8))(image, Random()).astype(int)
        resize = v2.Compose([v2.Resize(64, antialias=True), v2.CenterCrop(56)])
        theirs = resize(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy()
        same = np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]
        assert same > 0.99, "the same part of the picture; torchvision rounds its sides to other pixels"


def test_a_box_of_another_aspect_fills_the_result() -> None:
    assert CenterBox()((100, 100), (30, 60), Random()) == Box(25, 0, 50, 100)
    assert WholeBox()((100, 70), (8, 8), Random()) == Box(0, 0, 100, 70)


def test_random_boxes_are_distributed_as_those_of_torchvision() -> None:
    random, n = Random(0), 4000
    boxes = np.array([RandomBox(0.08)((300, 420), (32, 32), random) for _ in range(n)], float)
    torch.manual_seed(0)
    image = torch.zeros(3, 300, 420)
    draw = v2.RandomResizedCrop(32, scale=(0.08, 1.0), antialias=True)
    theirs = [draw.make_params([image]) for _ in range(n)]
    reference = np.array([[p["top"], p["left"], p["height"], p["width"]] for p in theirs], float)
    for values, expected in zip(boxes.T, reference.T, strict=True):
        error = 4 * np.sqrt((values.var() + expected.var()) / n)
        assert abs(values.mean() - expected.mean()) < error
        assert abs(values.std() - expected.std()) < error
    area = boxes[:, 2] * boxes[:, 3] / (300 * 420)
    assert area.min() > 0.075
    assert area.max() <= 1
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= (300, 420)).all()


def test_a_strip_has_a_random_box_too() -> None:
    for size in ((10, 160), (160, 10), (1, 16), (1, 1)):
        top, left, height, width = RandomBox()(size, (8, 8), Random(1))
        assert 0 <= top <= size[0] - height
        assert 0 <= left <= size[1] - width
        assert height > 0
        assert width > 0


class FixedBox:
    """A box that does not depend on the image."""

    def __call__(self, image_size: Sequence[int], size: Sequence[int], random: Random) -> Box:
        return Box(20, 50, 200, 260)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_training_and_evaluation_see_the_same_box_alike(
    interpolation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = save(tmp_path, encode(scene()))
    split = Split(FileImages(np.array([raw]), 3), np.array([0]))
    monkeypatch.setattr("regulo.regularizers.augment.RandomBox", lambda min_area: FixedBox())
    for side in (32, 120):  # a box of 200 × 260 pixels, of which a quarter is decoded, or all
        resize = Resize(side, side, FixedBox(), interpolation)  # type: ignore[arg-type]
        training = Augment(flip=0).transform([Resize(side, side, CenterBox(), interpolation)], INFO)  # type: ignore[arg-type]
        (trained,) = BatchedImages(split, training, 0).__getitems__([(0, 0, 0)]).images
        (evaluated,) = BatchedImages(split, [resize], 0).__getitems__([(0, 0, 0)]).images
        pixels = Split(read_image(raw, 3)[None], np.array([0]))
        (in_memory,) = BatchedImages(pixels, [resize], 0).__getitems__([(0, 0, 0)]).images
        assert (evaluated.int() - in_memory.int()).abs().max() <= 2
        difference = (trained.float() - evaluated).abs()
        assert difference.mean() < 4 if side == 32 else not difference.any()


def test_a_box_and_a_flip_are_drawn_independently(tmp_path: Path) -> None:
    """Both come from one seed: a generator of the same kind with the same seed would flip just the small boxes."""
    raw, boxes = save(tmp_path, encode(scene(40, 50))), []

    class Spy(RandomBox):
        def __call__(self, image_size: tuple[int, int], size: tuple[int, int], random: Random) -> Box:
            boxes.append(super().__call__(image_size, size, random))
            return Box(0, 0, 40, 50)

    transforms = [Resize(8, 8, Spy()), *Augment(flip=0.5).transform([], INFO)[-1:]]
    dataset = BatchedImages(Split(FileImages(np.array([raw] * 400), 3), np.zeros(400, int)), transforms, 0)
    images = dataset.__getitems__([(0, i, 0) for i in range(400)]).images
    flipped = np.array([not torch.equal(image, images[0]) for image in images])
    area = np.array([box.height * box.width for box in boxes])
    assert 120 < flipped.sum() < 280
    assert abs(np.corrcoef(flipped, area)[0, 1]) < 0.15


@pytest.mark.parametrize("shape", [(3, 8, 5, 1), (2, 30, 20, 3), (2, 6, 7, 9)], ids=str)
def test_a_batch_is_stacked_with_its_channels_first(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    assert (stack_channels_first(list(images)) == images.transpose(0, 3, 1, 2)).all()
    flipped = [image[:, ::-1] for image in images]
    assert (stack_channels_first(flipped) == images[:, :, ::-1].transpose(0, 3, 1, 2)).all()
    assert stack_channels_first(list(images)).strides == channels_first(images).strides
    from_torch = [torch.from_numpy(image.transpose(2, 0, 1).copy()).permute(1, 2, 0).contiguous().numpy() for image in images]
    assert (stack_channels_first(from_torch) == images.transpose(0, 3, 1, 2)).all()


# ---- fast reading of JPEG files


@pytest.mark.parametrize("orientation", [None, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(250, 180), (24, 20)], ids=["in full", "at a quarter or an eighth"])
def test_a_fast_box_is_that_of_the_whole_picture(
    orientation: int | None, channels: int, size: tuple[int, int], tmp_path: Path
) -> None:
    raw = save(tmp_path, encode(scene(), **({} if orientation is None else {"exif": exif(orientation)})))
    header = jpeg.read_header(Path(os.fsdecode(raw)).read_bytes())
    whole = read_image(raw, channels)
    assert header
    assert header.upright_size == whole.shape[:2]
    box = Box(30, 40, 260, 220) if whole.shape[0] > 300 else Box(40, 30, 220, 260)
    resize = Resize(*size, lambda *_: box, may_reduce=True)
    exact = read_resized(raw, channels, None, dataclasses.replace(resize, may_reduce=False), Random())
    fast, slow = read_resized(raw, channels, None, resize, Random()), resize.resize(whole, box)
    assert fast.shape == slow.shape == (*size, channels)
    assert fast.flags.c_contiguous
    assert np.abs(exact.astype(int) - slow).max() <= 2
    difference = np.abs(fast.astype(int) - slow)
    assert difference.max() <= 2 if size == (250, 180) else difference.mean() < 2.5
    assert np.corrcoef(fast.ravel(), slow.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 2}, {"restart_marker_rows": 1}], ids=str
)
def test_every_ordinary_file_takes_the_fast_way(options: dict[str, object]) -> None:
    assert jpeg.read_header(encode(scene(), **options)) == (300, 420, 1)
    assert jpeg.read_header(encode(scene()[..., 0], **options)) == (300, 420, 1)


def insert_segment(content: bytes, marker: int, data: bytes) -> bytes:
    return content[:2] + struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data + content[2:]


def not_ordinary() -> dict[str, bytes]:
    plain = encode(scene())
    cmyk = io.BytesIO()
    Image.fromarray(scene()).convert("CMYK").save(cmyk, "JPEG")
    png = io.BytesIO()
    Image.fromarray(scene()).save(png, "PNG")
    scan = plain.rindex(b"\xff\xda")
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"><Description tiff:Orientation="6"/></x:xmpmeta>'
    thumbnail = insert_segment(plain, 0xE1, b"Exif\0\0" + exif(6)[6:] + b"\xff\xd8\xff\xd9")
    return {
        "CMYK": cmyk.getvalue(),
        "PNG": png.getvalue(),
        "cut off": plain[: scan + 900],
        "cut off, with a thumbnail that is whole": thumbnail[: scan + 900],
        "no frame": plain[:20] + plain[scan:],
        "empty": b"",
        "two bytes": b"\xff\xd8",
        "the orientation is in XMP": insert_segment(plain, 0xE1, xmp),
        "fill bytes": plain[:2] + b"\xff" + plain[2:],
        "EXIF data of another kind": insert_segment(plain, 0xE1, b"Exif\0\0XX*\0\0\0\0\x08"),
        "EXIF data that end too early": insert_segment(plain, 0xE1, exif(6)[:-8]),
        "an orientation that is text": insert_segment(
            plain, 0xE1, b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0006\0\0\0\0\0\0\0"
        ),
    }


@pytest.mark.parametrize("kind", not_ordinary())
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_ordinary_is_left_to_pillow(kind: str, tmp_path: Path) -> None:
    content = not_ordinary()[kind]
    assert jpeg.read_header(content) is None
    raw, resize = save(tmp_path, content), Resize(20, 20, CenterBox())
    try:
        whole = read_image(raw, 3)
    except Exception as error:
        with pytest.raises(type(error)):
            read_resized(raw, 3, None, resize, Random())
    else:
        assert (read_resized(raw, 3, None, resize, Random()) == resize(whole, Random())).all()


def test_the_orientation_is_that_which_pillow_finds() -> None:
    for orientation in range(12):
        content = encode(scene(30, 40), exif=exif(orientation))
        with Image.open(io.BytesIO(content)) as image:
            upright = ImageOps.exif_transpose(image)
        header = jpeg.read_header(content)
        assert header
        assert header.upright_size == upright.size[::-1]
        big_endian = Image.Exif()
        big_endian.endian = ">"
        big_endian[0x0112] = orientation
        header = jpeg.read_header(encode(scene(30, 40), exif=big_endian.tobytes()))
        assert header
        assert header.upright_size == upright.size[::-1]


def test_a_file_whose_pixels_are_damaged_is_read_as_pillow_reads_it(tmp_path: Path) -> None:
    content = bytearray(encode(scene()))
    middle = (len(content) + content.rindex(b"\xff\xda")) // 2
    content[middle : middle + 40] = b"\x55" * 40
    raw, resize = save(tmp_path, bytes(content)), Resize(200, 200, CenterBox())
    assert (read_resized(raw, 3, None, resize, Random()) == resize(read_image(raw, 3), Random())).mean() > 0.99


def test_a_long_strip_is_its_middle_either_way(tmp_path: Path) -> None:
    raw, resize = save(tmp_path, encode(scene(16, 1600))), Resize(8, 8, WholeBox())
    assert (read_resized(raw, 3, None, resize, Random()) == resize(read_image(raw, 3), Random())).all()


def test_an_image_that_cannot_be_written_to_is_resized_without_a_warning() -> None:
    code = (
        "import numpy as np, warnings; warnings.simplefilter('error')\n"
        "from regulo.core.resize import resize_image\n"
        "image = np.zeros((9, 9, 3), np.uint8); image.flags.writeable = False\n"
        "resize_image(image, 4, 4, 'bilinear')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # torch warns once in a process
