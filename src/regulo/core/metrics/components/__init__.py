"""Sums that stay on the device during training: loss, accuracy and speed."""
