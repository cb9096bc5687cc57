"""Small files by the programs that write each format, for the tests of their readers."""
