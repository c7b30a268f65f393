"""One file per architecture: a Spec whose fields shape it, and a plain nn.Module from images to logits (B, K)."""
