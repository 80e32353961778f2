"""The facts and texts of exercises, and what is derived from them."""
