"""A page that shows posts as an encoder sees them."""
