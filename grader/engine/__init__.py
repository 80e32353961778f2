"""Judge other people's code: it runs in a cage, and what it says crosses a wire that carries data only."""
