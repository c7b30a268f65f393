"""From splits of images to loaders of whole uint8 batches."""
