"""The errors that a user can cause. Each message is one or two lines: what is wrong, and what to do."""


def printable(text: str) -> str:
    """The lines of ``text`` without what could steer a terminal: a space for each such character."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


class NCRunnerError(Exception):
    """Base of all errors that are shown to the user as they are, without a traceback.

    A message may hold names from files: what could steer a terminal, or cannot be printed, is a space in it.
    """

    def __str__(self) -> str:
        return printable(super().__str__())

    @property
    def in_one_line(self) -> str:
        """The message where it is one of several, or part of a sentence."""
        return "; ".join(" ".join(line.split()) for line in str(self).splitlines())


class ConfigError(NCRunnerError):
    """A setting or an argument is unknown, of a wrong type, out of range or impossible (exit code 2)."""


class DataError(NCRunnerError):
    """A data set is missing, damaged, or not what its name says (exit code 1)."""


class RunFolderError(NCRunnerError):
    """A run folder cannot be read, written, or is held by another process (exit code 1)."""


class MeasurementError(NCRunnerError):
    """A model, its batches or a features file cannot be measured (exit code 1)."""


class TrainingError(NCRunnerError):
    """Training could not go on: out of memory, or another failure with a known remedy (exit code 1)."""


class DivergedError(TrainingError):
    """The loss is no longer finite (exit code 1)."""


class GroupError(NCRunnerError):
    """The ranks of a command can no longer compute together: the command ends on each of them (exit code 1).

    ``speaker``: the rank that tells the user; the others end without a word.
    """

    def __init__(self, message: str, speaker: int = 0) -> None:
        super().__init__(message)
        self.speaker = speaker


class RankLostError(GroupError):
    """A rank ended without giving a reason, or is silent; the run can be resumed."""


class MeasurementWarning(UserWarning):
    """A measurement has numbers that are easily misread, as with few samples in a class."""
