"""`regulo tune`: finds the regularization of a model on its data by a search, and proves it with fresh seeds."""
