"""A stand-in for SageMaker's model packages, in this process, held to the API's own model.

    with SageMakerLocal() as server:
        boto3.client("sagemaker", endpoint_url=server.endpoint, ...)

Each request is checked against botocore's model of the operation: unknown and missing fields,
types, lengths, patterns and enumerations are refused, as AWS refuses them.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

import botocore.session
from botocore.model import Shape
from botocore.validate import ParamValidator

from claimtrace.closing import Closing
from tests.servers.aws_local import REGION
from tests.servers.broker import HOST

ACCOUNT: Final = "000000000000"
ARN: Final = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"
PAGE: Final = 2
"""Items of a page, so that few packages make several."""


class Refused(Exception):
    """An answer with an error code of AWS's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SageMakerLocal(Closing):
    """Model package groups and packages, in memory; `calls` are the operations in their order."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, Any]] = {}
        self.packages: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.refuse: Callable[[str], str] = lambda operation: ""
        """Returns an error code for an operation that is to fail."""
        self._model = botocore.session.get_session().get_service_model("sagemaker")
        self._server = ThreadingHTTPServer((HOST, 0), _Handler)
        self._server.local = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return f"http://{HOST}:{self._server.server_port}"

    def answer(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        """Answer a request.

        Raises:
            Refused: the request isn't one of the API's, or what it names isn't there.
        """
        self.calls.append(operation)
        if code := self.refuse(operation):
            raise Refused(code, "as the test wants it")
        shape = self._model.operation_model(operation).input_shape
        assert shape is not None
        report = ParamValidator().validate(given, shape)
        problems = [report.generate_report()] if report.has_errors() else list(wrong(given, shape))
        if problems:
            raise Refused("ValidationException", "; ".join(problems))
        method = getattr(self, f"_{re.sub(r'(?<!^)(?=[A-Z])', '_', operation).lower()}")
        answered: dict[str, Any] = method(given)
        return answered

    def _list_model_package_groups(self, given: dict[str, Any]) -> dict[str, Any]:
        found = [g for name, g in self.groups.items() if given.get("NameContains", "") in name]
        return self._page("ModelPackageGroupSummaryList", found, given)

    def _create_model_package_group(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given["ModelPackageGroupName"]
        if name in self.groups:
            raise Refused("ConflictException", f"{name} is there")
        arn = f"{ARN}:model-package-group/{name}"
        self.groups[name] = {**given, "ModelPackageGroupArn": arn, "CreationTime": time.time(),
                             "ModelPackageGroupStatus": "Completed"}  # fmt: skip
        return {"ModelPackageGroupArn": arn}

    def _list_model_packages(self, given: dict[str, Any]) -> dict[str, Any]:
        group = given.get("ModelPackageGroupName")
        found = [
            {key: each[key] for key in (
                "ModelPackageArn", "ModelPackageGroupName", "ModelPackageDescription",
                "ModelPackageVersion", "ModelApprovalStatus", "CreationTime", "ModelPackageStatus")}
            for each in self.packages if each["ModelPackageGroupName"] == group
        ]  # fmt: skip
        return self._page("ModelPackageSummaryList", found, given)

    def _create_model_package(self, given: dict[str, Any]) -> dict[str, Any]:
        group = given["ModelPackageGroupName"]
        if group not in self.groups:
            raise Refused("ValidationException", f"there is no group {group}")
        for each in self.packages:
            if each.get("ClientToken") == given.get("ClientToken"):
                return {"ModelPackageArn": each["ModelPackageArn"]}
        number = 1 + sum(each["ModelPackageGroupName"] == group for each in self.packages)
        arn = f"{ARN}:model-package/{group}/{number}"
        self.packages.append({**given, "ModelPackageArn": arn, "ModelPackageVersion": number,
                              "CreationTime": time.time(),
                              "ModelPackageStatus": "Completed"})  # fmt: skip
        return {"ModelPackageArn": arn}

    def _update_model_package(self, given: dict[str, Any]) -> dict[str, Any]:
        for each in self.packages:
            if each["ModelPackageArn"] == given["ModelPackageArn"]:
                each.update(given)
                return {"ModelPackageArn": each["ModelPackageArn"]}
        raise Refused("ResourceNotFound", given["ModelPackageArn"])

    def _page(self, name: str, found: list[Any], given: dict[str, Any]) -> dict[str, Any]:
        start = int(given.get("NextToken", 0))
        page: dict[str, Any] = {name: found[start : start + PAGE]}
        return page | ({"NextToken": str(start + PAGE)} if start + PAGE < len(found) else {})

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self


def wrong(value: Any, shape: Shape, at: str = "") -> list[str]:
    """Return what a value breaks of the lengths, patterns and enumerations of its shape."""
    if shape.type_name == "structure":
        return [p for k, v in value.items() for p in wrong(v, shape.members[k], f"{at}.{k}")]
    if shape.type_name == "list":
        return [p for each in value for p in wrong(each, shape.member, f"{at}[]")]
    if shape.type_name == "map":
        keys = [p for key in value for p in wrong(key, shape.key, f"{at}.key")]
        return keys + [p for k, v in value.items() for p in wrong(v, shape.value, f"{at}.{k}")]
    if shape.type_name != "string":
        return []
    rules, found = shape.metadata, []
    if not rules.get("min", 0) <= len(value) <= rules.get("max", len(value)):
        found.append(f"{at}: {len(value)} characters")
    if "enum" in rules and value not in rules["enum"]:
        found.append(f"{at}: {value}")
    pattern = rules.get("pattern", "")
    if "\\p" in pattern:  # classes of Unicode, which `re` hasn't; text of a line has all of them
        is_sound = value.isprintable() and ("$" not in pattern or _METADATA.fullmatch(value))
    else:
        is_sound = not pattern or re.fullmatch(pattern, value)
    return found if is_sound else [*found, f"{at}: {value!r} isn't {pattern}"]


_METADATA: Final = re.compile(r"[\w .:/=+\-@]*")


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers["X-Amz-Target"].partition(".")[2]
        try:
            status, answer = 200, self.server.local.answer(operation, json.loads(body))  # type: ignore[attr-defined]
        except Refused as refused:
            status, answer = 400, {"__type": refused.code, "message": str(refused)}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Leave requests out of the output of the tests."""
