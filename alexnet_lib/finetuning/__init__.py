"""Chapters 6 and 8 to 12: recipes, training on one device or many, evaluation."""
