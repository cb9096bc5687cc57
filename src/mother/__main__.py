"""`python -m mother`, for where the command is not on the path."""

from mother.cli import main

if __name__ == "__main__":
    main()
