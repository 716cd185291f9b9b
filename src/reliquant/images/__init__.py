"""From published files to prepared arrays of images."""
