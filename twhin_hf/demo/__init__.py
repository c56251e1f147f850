"""A page for people: type a post, see what two encoders take to be near, and who would engage."""
