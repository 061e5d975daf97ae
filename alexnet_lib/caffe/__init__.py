"""Chapters 1 and 5: Caffe's files, weights and descriptions, read and written without Caffe."""
