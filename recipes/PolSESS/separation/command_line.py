"""SpeechBrain's command line: values after switches, and nothing abbreviated."""

import dataclasses

from speechbrain.utils.run_opts import RunOptions

SWITCHES = {
    f"--{field.name}"
    for field in dataclasses.fields(RunOptions)
    if field.default is False
}


class Options(RunOptions):
    """SpeechBrain's options by their full names: ``--optimizer`` is a key of ours.

    To SpeechBrain it would stand for ``--optimizer_step_limit``.
    """

    @staticmethod
    def _create_parser():
        parser = RunOptions._create_parser()
        parser.allow_abbrev = False
        return parser


def as_flags(arguments):
    """Returns a command line in which switches have no values.

    SpeechBrain knows ``--test_only``; readers of its recipes also write
    ``--test_only True`` or ``--test_only=False``, as for any other key.

    Arguments
    ---------
    arguments : list of str
        What follows the script's name.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If a key has no value.
    """
    flags, rest = [], list(arguments)
    while rest:
        argument = rest.pop(0)
        name, has_value, value = argument.partition("=")
        if name not in SWITCHES:
            flags.append(argument)
            if name.startswith("--") and not has_value:
                if not rest or rest[0].startswith("--"):
                    raise ValueError(f"{name}: a value is missing, as in {name} VALUE")
                flags.append(rest.pop(0))
            continue
        if not has_value and rest and rest[0].lower() in ("true", "false"):
            value = rest.pop(0)
        if value.lower() != "false":
            flags.append(name)
    return flags
