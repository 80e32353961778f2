"""What knows no kata: errors, text, files, seeds, system calls."""
