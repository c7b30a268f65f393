"""Convert weights of EfficientNet-Lite from the names of the package efficientnet_lite_pytorch to those of timm.

    python scripts/convert_efficientnet_lite.py efficientnet-lite0-57934424.pth lite0.safetensors
    regulo train model=timm model.architecture=tf_efficientnet_lite0 model.weights=lite0.safetensors …

The network is the same, with other names. `--architecture` is the name of timm's model, by default tf_efficientnet_lite0.
"""

import argparse
import re
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""names in a block that does not expand its channels"""
OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def convert(state: dict[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """The same tensors by timm's names. Raises KeyError for a name that EfficientNet-Lite does not have."""
    stages = [len(stage) for stage in timm.create_model(architecture).blocks]  # type: ignore[union-attr]
    places = [(stage, block) for stage, blocks in enumerate(stages) for block in range(blocks)]
    result = {}
    for name, tensor in state.items():
        tensor = tensor.contiguous()  # some lie in memory as channels_last, which the format does not have
        if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            stage, block = places[int(match[1])]
            names = OTHER_STAGES if stage else FIRST_STAGE
            result[f"blocks.{stage}.{block}.{names[match[2]]}.{match[3]}"] = tensor
        else:
            layer, _, parameter = name.partition(".")
            result[f"{TOP[layer]}.{parameter}"] = tensor
    return result


def main() -> None:
    """Convert, check that timm's model takes every tensor, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the file of weights, .pth")
    parser.add_argument("target", type=Path, help="the file to write, .safetensors")
    parser.add_argument("--architecture", default="tf_efficientnet_lite0", help="timm's name of the model")
    arguments = parser.parse_args()
    state = convert(torch.load(arguments.source, map_location="cpu", weights_only=True), arguments.architecture)
    timm.create_model(arguments.architecture).load_state_dict(state)
    part = arguments.target.with_name(arguments.target.name + ".part")
    save_file(state, part)
    part.replace(arguments.target)  # whole or not at all
    print(f"{len(state)} tensors: {arguments.target}")


if __name__ == "__main__":
    main()
