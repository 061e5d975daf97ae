"""Chapters 1-4: from Caffe's files to Keras, and the proof that nothing changed."""
