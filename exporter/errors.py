"""The one exception that a user sees."""


class ExporterError(Exception):
    """One sentence that says what is wrong and what to do. The command line prints it and exits."""
