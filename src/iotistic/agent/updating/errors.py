"""How an update of the agent goes wrong; the codes reach whoever ordered it."""

from iotistic.kernel.errors import Conflict, Denied, Invalid, Unavailable


class UpdateNotSetUp(Denied):
    """This device takes no updates: it does not know where from, or whom to believe."""

    code = "update.not_set_up"


class UpdateOlder(Conflict):
    """The version is older than the one that runs."""

    code = "update.older"


class ReleaseUnavailable(Unavailable):
    """The release cannot be fetched."""

    code = "update.release_unavailable"


class ReleaseUntrusted(Denied):
    """The release is not signed with the key that this device believes, or a file is not the one that was signed."""

    code = "update.release_untrusted"


class ReleaseInvalid(Invalid):
    """The release does not say what it has to."""

    code = "update.release_invalid"


class UpdateNoRoom(Conflict):
    """The disk has no room for another version."""

    code = "update.no_room"


class UpdateNotInstalled(Conflict):
    """The new version cannot be installed here."""

    code = "update.not_installed"
