"""What a published benchmark reveals of the people in it."""
