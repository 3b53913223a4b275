"""Wrong input for the commands, and what each must do with it.

A refusal names what is wrong, says what was expected, exits with a code that is not 0,
shows no traceback, and leaves nothing half-written.
"""

from dataclasses import dataclass, field
from pathlib import Path

from recipekit.console import plain_errors


@dataclass
class Case:
    """One wrong input.

    Arguments
    ---------
    name : str
        Of the test.
    arguments : list of str
        The command line, after the script's name.
    says : list of str
        What the message must contain, such as the file or key and what was expected.
    """

    name: str
    arguments: list
    says: list = field(default_factory=list)


@dataclass
class Wrong:
    """One wrong input: what is done to the folder, the arguments, and the message."""

    name: str
    says: list
    arguments: list = field(default_factory=list)
    edit: object = None


def case_ids(case):
    """Returns what pytest calls a case."""
    return case.name


def refused(main, arguments, capsys, says=()):
    """Runs a command in this process and asserts that it refuses, and how.

    Arguments
    ---------
    main : callable
        Of the command line, a list of str.
    arguments : list of str
    capsys : pytest's fixture
    says : list of str
        What the output must contain, regardless of case.

    Returns
    -------
    str
        All that was printed.
    """
    code = 0
    try:
        with plain_errors():
            code = main([str(argument) for argument in arguments])
    except SystemExit as ended:
        code = ended.code
        if isinstance(code, str):  # sys.exit(message)
            print(code)
    printed = "".join(capsys.readouterr())
    assert code not in (0, None), f"exit code {code}:\n{printed}"
    assert "Traceback" not in printed, printed
    for part in says:
        assert str(part).lower() in printed.lower(), f"{part!r} is not in:\n{printed}"
    return printed


def files_below(folder):
    """Returns the files below a folder with their bytes, but for locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
