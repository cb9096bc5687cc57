"""What is no test: scripts that need a program which only their own page is about."""

collect_ignore = ["formats/gguf_names.py", "fuzz/checkpoints.py"]
collect_ignore_glob = ["formats/writers/*", "stores/*"]
