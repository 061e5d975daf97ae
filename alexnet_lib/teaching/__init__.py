"""What only the chapters need: figures, drawn scenes, stand-in weights."""
