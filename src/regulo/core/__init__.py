"""What every other part of Regulo may use. It uses no other part."""
