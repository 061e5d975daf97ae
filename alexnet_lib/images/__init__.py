"""Chapter 7: from image files to batches and features."""
