"""Errors of the internal listener, as RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import msgspec
from aiohttp import web

from notifier.logs import failure, get_logger

log = get_logger()


def problem(status: int, detail: str | None = None, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error's answer. `detail` is for the person who asked: what, and what to do."""
    body: dict[str, object] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail is not None:
        body["detail"] = detail
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/problem+json", headers=headers
    )


@web.middleware
async def problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Whatever an answer fails with, as a problem document."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return problem(error.status, headers={"Allow": error.headers["Allow"]} if "Allow" in error.headers else None)
    except Exception as error:  # noqa: BLE001 - a bug about one question ends no listener; it is told here and there
        log.error("request.failed", **failure(error))
        return problem(500, "A fault of this program. Its log has a line request.failed that says where.")
