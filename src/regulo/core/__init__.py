"""What every other part of Regulo may use, and what uses no other part."""
