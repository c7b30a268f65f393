"""What turns the splits of a data set into loaders of whole uint8 batches."""
