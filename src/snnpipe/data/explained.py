"""Errors that a data module can explain."""

from collections.abc import Iterator
from contextlib import contextmanager

from snnpipe.data.checked_data import CheckedData


@contextmanager
def explained(data: CheckedData) -> Iterator[None]:
    """Replace an error by the data module's explanation, if the data module has one."""
    try:
        yield
    except Exception as error:
        if (problem := data.explain(error)) is not None:
            raise problem from error
        raise
