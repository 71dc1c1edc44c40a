"""The service over HTTP: a page for people, JSON for programs.

    GET  /              a page: what the model reads, and a form to predict one patient
    GET  /model         what it was fitted on, reads, and how it was measured (JSON)
    POST /predict       patients in, predictions out (JSON), described by GET /openapi.json
    GET  /health        {"status": "ok"}

Wrong input is answered with status 422 (413 if it is too long) and {"error": one sentence}.
Nothing of a patient is kept or logged.
"""

from typing import Any

from remind.cohort.extras import require
from remind.errors import InputError, did_you_mean
from remind.serve.answers import Answer, Refusal
from remind.serve.page import page
from remind.serve.service import Service

MOST_BYTES = 64 << 20
"""Of a request: a head CT in base64 has some thirty million."""

HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def make_app(service: Service, *, most_bytes: int = MOST_BYTES) -> Any:
    """The ASGI application of a service.

    Raises:
        InputError: FastAPI is not installed.
    """
    fastapi = require("fastapi", "serve", "remind serve")
    exceptions = require("fastapi.exceptions", "serve", "remind serve")
    starlette = require("starlette.exceptions", "serve", "remind serve")
    responses = require("fastapi.responses", "serve", "remind serve")
    html, policy = page(service.card)
    app = fastapi.FastAPI(
        title=f"REMIND: {service.card['label']} of {service.card['cohort']}",
        version=service.card["version"],
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
    )
    wrong = {
        422: {"description": "wrong input", "model": Refusal},
        413: {"description": "too long", "model": Refusal},
    }

    @app.get("/", response_class=responses.HTMLResponse, include_in_schema=False)
    def show() -> Any:
        return responses.HTMLResponse(html, headers={"content-security-policy": policy})

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/model")
    def model() -> dict[str, Any]:
        return service.card

    def predict(request: Any) -> Any:
        return service.predict(request)

    predict.__annotations__["request"] = service.reader.model
    app.post("/predict", response_model=Answer, responses=wrong)(predict)

    @app.exception_handler(InputError)
    def refuse(_: Any, error: InputError) -> Any:
        return responses.JSONResponse({"error": str(error)}, status_code=422)

    @app.exception_handler(exceptions.RequestValidationError)
    def explain(_: Any, error: Any) -> Any:
        sentence = _sentence(error.errors()[0], service)
        return responses.JSONResponse({"error": sentence}, status_code=422)

    @app.exception_handler(starlette.HTTPException)
    def turn_away(request: Any, error: Any) -> Any:
        if error.status_code == 400:  # what reading a body ends in that is not text
            unread = {"error": "the request is no JSON: it is not UTF-8 text"}
            return responses.JSONResponse(unread, status_code=422)
        sentence = f"{request.method} {request.url.path}: {error.detail.lower()}"
        return responses.JSONResponse(
            {"error": sentence}, status_code=error.status_code, headers=error.headers
        )

    app.add_middleware(_Limits, most_bytes=most_bytes)
    return app


class _Limits:
    """Refuses a body that is too long before it is read, and adds headers to every answer."""

    def __init__(self, app: Any, most_bytes: int) -> None:
        self.app, self.most_bytes = app, most_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        num_bytes, is_too_long = 0, False

        async def limited() -> Any:
            nonlocal num_bytes, is_too_long
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > self.most_bytes:
                is_too_long = True
                return {"type": "http.disconnect"}
            return message

        async def answered(message: Any) -> None:
            if is_too_long:
                return  # whatever the application makes of it
            if message["type"] == "http.response.start":
                added = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self.app(scope, limited, answered)
        if is_too_long:
            responses = require("fastapi.responses", "serve", "remind serve")
            sentence = f"the request is longer than {self.most_bytes:,} bytes: send less at once"
            await responses.JSONResponse({"error": sentence}, status_code=413)(scope, receive, send)


def _sentence(error: dict[str, Any], service: Service) -> str:
    """The first thing that is wrong with a request: where, what, and what would be right."""
    place = ".".join(str(part) for part in error["loc"] if part != "body")
    where = f"the request: {place}" if place else "the request"
    if error["type"] == "json_invalid":
        return f"the request is no JSON: {error['ctx']['error']}"
    if error["type"] == "missing":
        return f"{where} is missing: add it"
    if error["type"] == "extra_forbidden":
        return f"{where} is unknown{_near(error['loc'], service)}"
    what = error["msg"].removeprefix("Value error, ").replace("Input should", "should")
    return f"{where} {what[0].lower()}{what[1:]}"


def _near(loc: tuple[Any, ...], service: Service) -> str:
    """What an unknown key may have been meant to be."""
    key, fields = str(loc[-1]), service.reader.fields
    if loc[-2:-1] == ("modalities",):
        return did_you_mean(key, fields) or f" (the model reads {', '.join(fields)})"
    columns = getattr(fields.get(str(loc[-2])), "spec", None)
    return did_you_mean(key, getattr(columns, "columns", ()))
