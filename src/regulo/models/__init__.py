"""One file per architecture: a config whose fields define it, and a plain nn.Module from images to logits (B, K)."""
