"""The modules are found as they are when verify.py runs as a program."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
