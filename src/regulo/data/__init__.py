"""One file per data set: a config that says where its images are. `components` makes a LightningDataModule of any of them."""
