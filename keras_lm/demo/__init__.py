"""The demo behind `keras-lm demo`: from raw text to a GPT that serves strings."""
