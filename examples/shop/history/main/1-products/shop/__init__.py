"""A small shop: what it sells, and what a basket costs."""
