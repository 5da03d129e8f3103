"""The commands, a file for each: what ``tools/*.py`` call."""
