from redis.asyncio.retry import Retry

class ConnectionPool:
    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        password: str | None = ...,
        socket_timeout: float | None = ...,
        socket_connect_timeout: float | None = ...,
        retry: Retry | None = ...,
        protocol: int = ...,
        client_name: str | None = ...,
        driver_info: None = ...,
    ) -> ConnectionPool: ...
    async def disconnect(self, inuse_connections: bool = True) -> None: ...
