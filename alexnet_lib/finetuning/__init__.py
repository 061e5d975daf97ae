"""Chapters 6, 8, 9 and 11: recipes, training on one device or many, evaluation."""
