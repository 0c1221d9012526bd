"""Word vectors' files and what they are learned from: words, their neighbours, their counts."""
