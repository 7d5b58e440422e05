"""One address for every value: live, in a journal, or in an archive."""
