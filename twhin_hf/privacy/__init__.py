"""What hides people in data that are given away."""
