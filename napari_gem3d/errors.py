"""The one exception for input that cannot be used."""


class InputError(ValueError):
    """Input that cannot be used.

    The message is one sentence that says what is wrong and what to do about it. The command line prints it and
    exits with code 2; the panel shows it in its message line.
    """
