"""Small files by the programs that write each format, and what the readers of them are checked by."""
