"""The words that groups of settings are written with: pydantic's, unless the process only holds settings.

pydantic is 8 MB of a process that rests for months, after it was needed for a moment. A process for which that
is much has its settings read by another one (see entrypoints/agent/reading.py), calls `Holding.begin` before
any group is imported, and holds the values in the same classes without pydantic. Everybody else has pydantic.
"""

from typing import TYPE_CHECKING

from iotistic.kernel.holding import Holding

if TYPE_CHECKING or not Holding.has_begun:
    from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr, ValidationError, field_validator
else:
    from iotistic.kernel.holding import (
        BaseModel,
        ByteSize,
        ConfigDict,
        Field,
        SecretStr,
        ValidationError,
        field_validator,
    )

__all__ = ["BaseModel", "ByteSize", "ConfigDict", "Field", "SecretStr", "ValidationError", "field_validator"]
