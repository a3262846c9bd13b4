"""The one exception that every room raises when the fault lies in what the user gave."""


class InputError(Exception):
    """Bad input: one paragraph that names the field, file or line and the way out.

    Commands print the message without a traceback and exit with code 2. A bug raises anything else.
    """
