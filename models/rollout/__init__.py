"""Roll-outs: which models score beside the champion, and on which claims one of them decides."""
