"""The one error that means: what the user gave cannot be used."""


class InputError(ValueError):
    """Bad input: one line saying what was expected, what was received and what to do.

    The command line prints it without a traceback and exits with code 2.
    """
