"""`python -m ismpack`."""

from ismpack.cli import main

if __name__ == "__main__":
    main()
