"""`python -m precisionlab`, which is what torchrun starts."""

from precisionlab.cli import main

main()
