"""Everything that is remembered between batches: a batch goes in, vectors come out."""
