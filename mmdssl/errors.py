"""Errors that a person can act on."""


class InputError(ValueError):
    """Bad input from the user: a config value, a file or a data folder.

    The message is one sentence that says what is wrong, where, and what to do. Command-line tools print it without a
    traceback.
    """


class NonFiniteLossError(RuntimeError):
    """The loss of this iteration is NaN or infinite on some process; no process has taken the optimizer step."""


class Stopped(Exception):
    """The run was asked to end, and has saved from where ``--resume`` continues it."""
