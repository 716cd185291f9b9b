"""The embedded lab's world: procedural captioned images that need no download."""
