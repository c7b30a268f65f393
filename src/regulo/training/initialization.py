"""First weights that depend on training images."""

import torch
from torch import nn

from regulo.data.components.datamodule import ImageDataModule
from regulo.models.base import ModelConfig
from regulo.models.components.classifier import Classifier

IMAGES = 1000
"""clean training images, always the same"""


def initialize_model(config: ModelConfig, model: nn.Module, data: ImageDataModule) -> None:
    """Let a model that wants to see training images change its first weights. All processes see the same ones."""
    if config.weights or type(config).initialize is ModelConfig.initialize:
        return
    clean = data.eval_datasets["train_clean"]
    batch = clean.__getitems__([(0, index, 0) for index in range(min(len(clean), IMAGES))])
    with torch.no_grad():
        config.initialize(model, Classifier(nn.Identity(), data.dataset_info, "contiguous").normalize(batch.images.cpu()))
