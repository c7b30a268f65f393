"""One file per data set: a Spec that says where its images are. `pipeline` turns any of them into a LightningDataModule."""
