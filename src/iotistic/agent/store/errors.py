"""What the store raises, by what a caller can do about it."""

from iotistic.kernel.errors import Conflict, Invalid, Unavailable


class StoreUnavailable(Unavailable):
    """The agent's disk does not take writes now: it is full, read-only or failing."""

    code = "store.unavailable"


class StoreInUse(Conflict):
    """Another agent works with this database."""

    code = "store.in_use"


class StoreKeyMissing(Conflict):
    """The key file is not there, and the database was sealed with one."""

    code = "store.key_missing"


class StoreKeyWrong(Conflict):
    """The key file is not the one that the database was sealed with."""

    code = "store.key_wrong"


class StoreSchemaUnusable(Conflict):
    """The database's schema is not one that this agent can work with."""

    code = "store.schema_unusable"


class SealBroken(Invalid):
    """A sealed value was changed, or belongs somewhere else."""

    code = "store.seal_broken"


class MessageTooLarge(Invalid):
    """The message is larger than all that the outbox may hold."""

    code = "outbox.message_too_large"
