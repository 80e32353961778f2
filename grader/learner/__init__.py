"""One person's desk: what is next, what is kept, what a run of pytest shows."""
