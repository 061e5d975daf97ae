"""Chapters 5, 7, 8 and 10: recipes, training on one device or many, evaluation."""
