"""A workflow of as many activities as it is told, written on Temporal's SDK by hand, with google's messages."""

from __future__ import annotations

import importlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    messages: Any = importlib.import_module("replaying.v1.replaying_pb2")
if TYPE_CHECKING:
    AddRequest: TypeAlias = Any
    AddResponse: TypeAlias = Any
    ShapeRequest: TypeAlias = Any
    ShapeResponse: TypeAlias = Any
else:
    AddRequest, AddResponse = messages.AddRequest, messages.AddResponse
    ShapeRequest, ShapeResponse = messages.ShapeRequest, messages.ShapeResponse

ONE_MINUTE = timedelta(seconds=60)


@workflow.defn(name="Sequence")
class Sequence:
    @workflow.run
    async def run(self, request: ShapeRequest) -> ShapeResponse:
        number = 0
        for _ in range(request.count):
            answer = await workflow.execute_activity(
                "Add",
                messages.AddRequest(id=request.id, number=number),
                result_type=messages.AddResponse,
                start_to_close_timeout=ONE_MINUTE,
            )
            number = answer.number
        return messages.ShapeResponse(id=request.id, number=number)


@activity.defn(name="Add")
async def add(request: AddRequest) -> AddResponse:
    return messages.AddResponse(id=request.id, number=request.number + 1)
