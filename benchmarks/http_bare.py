"""What frameworks alone can do: servers that answer and look at nothing.

python -m benchmarks.http_bare hello|fastapi PORT
"""

import sys
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header, Response

HELLO, FASTAPI = "hello", "fastapi"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer 200 to everything."""
    _ = scope, receive
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


def fastapi_poll() -> FastAPI:
    """Return an app whose one route knows no device and has nothing new for any."""
    app = FastAPI()

    @app.get("/api/v1/device/{uuid}/state")
    async def poll(uuid: str, if_none_match: Annotated[str, Header()] = "") -> Response:
        return Response(status_code=304, headers={"ETag": if_none_match, "X-Device": uuid})

    _ = poll
    return app


def main() -> None:
    """Serve until ended."""
    app: Any = {HELLO: hello, FASTAPI: fastapi_poll()}[sys.argv[1]]
    uvicorn.run(
        app,
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
