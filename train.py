"""Fit a surrogate: `python train.py model=lsm dataset=navier_stokes`; see `--help`."""

from sciml.cli import main

if __name__ == "__main__":
    main()
