"""Signals that come at a chosen moment of a run."""

from nc_runner.training.signals import StopRequested, StopSignals


class StopAfter(StopSignals):
    """Signals of which one comes after so many looks; ``killed`` leaves no time to save."""

    def __init__(self, looks: int, killed: bool = False) -> None:
        super().__init__()
        self.looks, self.killed = looks, killed

    def look(self) -> int | None:
        self.looks -= 1
        if self.looks < 0 and self.killed:
            raise KeyboardInterrupt
        return None if self.looks >= 0 else 15

    @property
    def received(self) -> int | None:
        return self.look()

    @received.setter
    def received(self, number: int | None) -> None:
        """Only the looks decide."""

    def pause(self) -> None:
        raise StopRequested(15)
