"""A command becomes stored images and scores. The only room that opens the store."""
