"""The practice page: a server that holds neither torch nor pytest; what judges is a process of its own."""
