"""How often somebody may try a password.

Three windows, each counted before the slow comparison, so that a thousand attempts at once are a thousand:

    account + site    attempts since the last right password; brakes guessing, and only the guesser
    site              attempts from one place; brakes trying many accounts
    account           attempts from everywhere; brakes many places working together

A window begins with its first attempt. (Moving windows would be exact at its edges, but their store in
memory walks through all attempts of everybody at each new one: a gift to whoever sends many.)

Counts live in this process, or in Redis when several processes share one; a Redis that is away is
replaced by the process' own counts meanwhile. Account names are hashed in keys. Whether an account of
that name exists makes no difference to any answer here.
"""

import hashlib
import time
from dataclasses import dataclass

import structlog
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError

from iotistic.control.accounts.settings import AccountSettings
from iotistic.kernel.web.problems import RateLimited

log = structlog.get_logger()

_WINDOW_MIN = 15


class TooManyLogins(RateLimited):
    """There were too many attempts to log in; wait before the next."""

    code = "login.braked"


@dataclass(frozen=True)
class _Window:
    limit: RateLimitItem
    key: tuple[str, ...]


class Brake:
    """Counts attempts, and refuses those past a limit."""

    def __init__(self, settings: AccountSettings, storage: Storage | None = None) -> None:
        """`storage` is shared by several processes; without it each counts for itself."""
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._shared = FixedWindowRateLimiter(storage) if storage else None
        self._per_pair = RateLimitItemPerMinute(settings.login_limit_account, _WINDOW_MIN, "login-pair")
        self._per_site = RateLimitItemPerMinute(settings.login_limit_address, _WINDOW_MIN, "login-site")
        self._everywhere = RateLimitItemPerHour(settings.login_limit_everywhere, 1, "login-account")

    async def attempt(self, account: str, site: str) -> None:
        """Count an attempt before its password is compared. Raises TooManyLogins."""
        name = _hashed(account)
        for window in (
            _Window(self._per_site, (site,)),
            _Window(self._per_pair, (name, site)),
            _Window(self._everywhere, (name,)),
        ):
            if not await self._hit(window):
                raise await self._refusal(window)

    async def succeeded(self, account: str, site: str) -> None:
        """Forget the wrong passwords of this account from this place: its owner has found the right one."""
        window = _Window(self._per_pair, (_hashed(account), site))
        try:
            if self._shared:
                await self._shared.clear(window.limit, *window.key)
        except StorageError:
            log.warning("login_counts.unreachable")
        await self._own.clear(window.limit, *window.key)

    async def _hit(self, window: _Window) -> bool:
        if self._shared:
            try:
                return await self._shared.hit(window.limit, *window.key)
            except StorageError:
                log.warning("login_counts.unreachable")
        return await self._own.hit(window.limit, *window.key)

    async def _refusal(self, window: _Window) -> TooManyLogins:
        counts = self._shared or self._own
        try:
            reset_at = (await counts.get_window_stats(window.limit, *window.key)).reset_time
        except StorageError:
            reset_at = time.time() + window.limit.get_expiry()
        wait_s = max(1.0, reset_at - time.time())
        return TooManyLogins(
            retry_after_s=wait_s,
            hint=f"wait {wait_s:.0f} s; if this was not you, tell an owner",
            limit=window.limit.amount,
            window_s=window.limit.get_expiry(),
        )


def _hashed(account: str) -> str:
    return hashlib.sha256(account.strip().casefold().encode()).hexdigest()[:32]
