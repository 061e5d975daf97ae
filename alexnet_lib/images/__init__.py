"""Chapter 6: from image files to batches and features."""
