"""The shell completes commands, options, experiments and solvers."""

import os
import subprocess
import sys

import pytest
from click.shell_completion import BashComplete

from precisionlab.cli import main

CASES = {
    "a command": ([], "tra", {"train"}),
    "an option": (["train"], "--ti", {"--time-limit"}),
    "a choice": (["train", "x", "--log"], "t", {"tensorboard"}),
    "an experiment": (["train"], "linear-attention/heavy", {"linear-attention/heavy-ball"}),
    "a solver to report": (["report", "qr"], "linear-attention/explicit", {"linear-attention/explicit-gradient"}),
    "a solver to solve with": (["solve", "--solver"], "cho", {"cholesky"}),
    "a solver to verify": (["verify"], "cg", {"cgls"}),
}


@pytest.mark.parametrize("case", CASES)
def test_words_are_completed(case):
    before, typed, wanted = CASES[case]
    complete = BashComplete(main, {}, "precisionlab", "_PRECISIONLAB_COMPLETE")
    assert {item.value for item in complete.get_completions(before, typed)} == wanted


def test_a_shell_is_given_its_script():
    program = "from precisionlab.cli import main; main(prog_name='precisionlab')"
    environment = {**os.environ, "_PRECISIONLAB_COMPLETE": "zsh_source"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.startswith("#compdef precisionlab"), done.stderr
