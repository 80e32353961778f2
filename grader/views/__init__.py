"""Results as text, tables and files for other systems."""
