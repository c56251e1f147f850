"""What a client is told that something is wrong with what it asks."""

from __future__ import annotations


class Refused(Exception):
    """A question that cannot be answered; its message goes to the client.

    Args:
        status: Of HTTP.
        message: What was found, what is needed, how to mend it: of the request alone.
        retry_after: Seconds after which the same may be asked again.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after
