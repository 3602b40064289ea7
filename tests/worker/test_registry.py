"""What a worker is given, checked as a whole: `protopact.worker.Registry`."""

from __future__ import annotations

import functools
import logging
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from protopact import contract
from protopact.activity import Activities
from protopact.engine import WorkerOptions
from protopact.errors import RegistrationError
from protopact.worker import Registry, takes_request
from protopact.workflow import Workflow

TEXT = contract.Schema("google").message("google.protobuf.StringValue", StringValue)


def activity(
    name: str, method: str, *, queue: str | None = "shop", aliases: tuple[str, ...] = ()
) -> contract.Activity[StringValue, StringValue]:
    return contract.Activity(
        name=f"shop.v1.{name}", method=method, request=TEXT, response=TEXT, task_queue=queue, aliases=aliases
    )


CHARGE = activity("Charge", "charge", aliases=("charge-v0",))
REFUND = contract.Activity(
    name="shop.v1.Refund", method="refund", request=contract.EMPTY, response=contract.EMPTY, task_queue="refunds"
)
ORDER = contract.Workflow(
    name="shop.v1.Order",
    method="order",
    request=TEXT,
    response=TEXT,
    service="shop.v1.Shop",
    task_queue="shop",
    aliases=("order-v0",),
    queries=(contract.Query(name="shop.v1.Status", method="status", request=TEXT, response=TEXT),),
    signals=(contract.SignalRef(contract.Signal(name="shop.v1.Pay", method="pay", request=TEXT)),),
    updates=(
        contract.UpdateRef(
            contract.Update(name="shop.v1.Address", method="address", request=TEXT, response=TEXT), validate=True
        ),
    ),
)
SHOP = contract.Service(
    name="shop.v1.Shop", source="shop/v1/shop.proto", digest="d1", workflows=(ORDER,), activities=(CHARGE, REFUND)
)


class Shop:
    """As generated: a service class with its workflow and activities classes."""

    @classmethod
    def __protopact__(cls) -> contract.Service:
        return SHOP

    class Order(Workflow):
        @classmethod
        def __protopact__(cls) -> contract.Workflow[StringValue, StringValue]:
            return ORDER

        @abstractmethod
        async def run(self, request: StringValue, /) -> StringValue: ...

        @abstractmethod
        def status(self, request: StringValue, /) -> StringValue: ...

        @abstractmethod
        async def address(self, request: StringValue, /) -> StringValue: ...

        async def on_pay(self, request: StringValue, /) -> None: ...

        def validate_address(self, request: StringValue, /) -> None: ...

    class Activities(Activities):
        @classmethod
        def __protopact__(cls) -> contract.Service:
            return SHOP

        @abstractmethod
        def charge(self, request: StringValue, /) -> Awaitable[StringValue] | StringValue: ...

        @abstractmethod
        def refund(self) -> Awaitable[None] | None: ...


class Order(Shop.Order):
    async def run(self, request: StringValue) -> StringValue:
        return request

    def status(self, request: StringValue) -> StringValue:
        return request

    async def address(self, request: StringValue) -> StringValue:
        return request


class Till(Shop.Activities):
    async def charge(self, request: StringValue) -> StringValue:
        return request

    def refund(self) -> None:
        pass


def service(name: str, digest: str, *activities: contract.Activity[object, object]) -> contract.Service:
    return contract.Service(name=name, source=f"{name.lower()}.proto", digest=digest, activities=activities)


def echo(_: object, request: object) -> object:
    return request


def activities_of(described: contract.Service, **methods: object) -> Activities:
    def describe(_: type) -> contract.Service:
        return described

    members: dict[str, object] = {"__module__": __name__, "__protopact__": classmethod(describe), **methods}
    return cast("Activities", type("Made", (Activities,), members)())


def problems(options: WorkerOptions) -> list[str]:
    with pytest.raises(RegistrationError) as refused:
        Registry(options)
    first, *rest = str(refused.value).split("\n  - ")
    assert first == "this worker cannot serve what it was given:"
    return rest


def test_everything_is_found_by_its_name_and_its_aliases() -> None:
    till = Till()
    registry = Registry(WorkerOptions(workflows=[Order], activities=[till], services=[Shop]))
    assert set(registry.workflows) == {"shop.v1.Order", "order-v0"}
    assert registry.workflows["order-v0"].cls is Order
    assert registry.workflows["order-v0"].contract is ORDER
    assert set(registry.activities) == {"shop.v1.Charge", "charge-v0", "shop.v1.Refund"}
    charge = registry.activities["charge-v0"]
    assert (charge.contract, charge.method, charge.is_async, charge.instance) == (CHARGE, till.charge, True, till)
    assert not registry.activities["shop.v1.Refund"].is_async


def test_by_default_every_queue_of_the_contract_is_polled() -> None:
    registry = Registry(WorkerOptions(workflows=[Order], activities=[Till()]))
    assert registry.workflow_queues == {"shop"}
    assert registry.activity_queues == {"shop", "refunds"}
    assert registry.unserved_queues == {}


def test_a_worker_of_workflows_only_and_one_of_activities_only() -> None:
    workflows = Registry(WorkerOptions(workflows=[Order]))
    assert workflows.workflow_queues == {"shop"}
    assert workflows.activity_queues == frozenset()
    activities = Registry(WorkerOptions(activities=[Till()], task_queue="mine"))
    assert activities.workflow_queues == frozenset()
    assert activities.activity_queues == {"mine"}


def test_one_queue_for_everything_names_the_queues_that_nobody_here_serves(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "protopact.worker"):
        registry = Registry(WorkerOptions(workflows=[Order], activities=[Till()], task_queue="shop"))
    assert registry.workflow_queues == registry.activity_queues == {"shop"}
    assert registry.unserved_queues == {"refunds": ("shop.v1.Refund",)}
    [message] = caplog.messages
    assert message == (
        "the worker polls task queue 'shop' for everything it serves; nobody here serves task queue 'refunds', "
        "which the contract names for shop.v1.Refund"
    )


def test_an_activity_without_a_queue_is_served_on_the_queues_of_the_workflows_here() -> None:
    queueless = service("shop.v1.Notes", "n", activity("Note", "note", queue=None))
    notes = activities_of(queueless, note=echo)
    assert Registry(WorkerOptions(workflows=[Order], activities=[notes])).activity_queues == {"shop"}
    assert Registry(WorkerOptions(activities=[notes], task_queue="x")).activity_queues == {"x"}
    assert problems(WorkerOptions(activities=[notes])) == [
        "task_queue: the contract names no task queue for shop.v1.Note; give task_queue="
    ]


def test_a_service_that_is_not_served_as_a_whole_says_what_is_missing() -> None:
    [problem] = problems(WorkerOptions(services=[Shop]))
    assert problem == (
        "services: shop.v1.Shop is not served as a whole; missing: workflow shop.v1.Order (give workflows=[...] a "
        "subclass of its generated class); activities shop.v1.Charge, shop.v1.Refund (give activities=[...] an "
        f"instance of a subclass of {__name__}.Shop.Activities)"
    )
    [problem] = problems(WorkerOptions(services=[Shop], activities=[Till()]))
    assert "workflow shop.v1.Order" in problem
    assert "activities" not in problem


def test_all_problems_at_once() -> None:
    class Half(Shop.Order):
        async def run(self, request: StringValue) -> StringValue:
            return request

    found = problems(
        WorkerOptions(
            workflows=cast("Any", [Half, Order(), Shop.Order, int]),
            activities=cast("Any", [Till, Till(), "till"]),
            services=[int],
            max_concurrent_activities=0,
            max_concurrent_local_activities=-1,
        )
    )
    assert found == [
        "max_concurrent_activities must be at least 1, not 0",
        "max_concurrent_local_activities must be at least 1, not -1",
        f"workflow class {__name__}.{Half.__qualname__} (shop.v1.Order) does not implement address, status",
        f"workflows: an instance of {__name__}.Order was given; give the class itself",
        f"workflow class {__name__}.Shop.Order (shop.v1.Order) does not implement address, run, status",
        "workflows: builtins.int is not a subclass of a generated workflow class",
        f"activities: the class {__name__}.Till was given; give an instance of it: Till(...)",
        "activities: 'till' (of type str) is not an instance of a generated Activities class",
        "services: builtins.int is not a generated service class",
    ]


def test_handlers_of_the_wrong_kind() -> None:
    class Wrong(Shop.Order):
        def __init__(self, shelf: int, row: int) -> None:
            self.place = shelf, row

        def run(self, request: StringValue) -> StringValue:  # type: ignore[override]  # what a checker would refuse
            return request

        async def status(self, request: StringValue) -> StringValue:  # type: ignore[override]  # as above
            return request

        async def address(self) -> StringValue:  # type: ignore[override]  # as above
            return StringValue()

        def on_pay(self, request: StringValue) -> None:  # type: ignore[override]  # as above
            pass

        @staticmethod
        async def validate_address(request: StringValue) -> None:  # type: ignore[override]  # as above
            pass

    where = f"workflow class {__name__}.{Wrong.__qualname__} (shop.v1.Order)"
    creation, *handlers = problems(WorkerOptions(workflows=[Wrong]))
    assert creation == (
        f"{where} cannot be created: __init__ must be callable without arguments, or with the StringValue as its only "
        "argument (found (shelf: 'int', row: 'int') -> 'None')"
    )
    assert handlers == [
        f"{where}: run must be an `async def`",
        f"{where}: status must be a plain `def`: it answers at once, without `await`",
        f"{where}: on_pay must be an `async def`",
        f"{where}: address must take one positional argument, the StringValue (too many positional arguments)",
        f"{where}: validate_address must be a method of its instances, not a staticmethod",
    ]


def test_a_constructor_takes_the_request_or_nothing() -> None:
    class Takes(Order):
        def __init__(self, request: StringValue) -> None:
            self.value = request.value

    class May(Order):
        def __init__(self, request: StringValue | None = None) -> None:
            self.request = request

    class Any(Order):
        def __init__(self, *requests: object) -> None:
            self.requests = requests

    class Other(Order):
        def __init__(self, shelf: int) -> None:
            self.shelf = shelf

    class Named(Order):
        def __init__(self, *, request: StringValue) -> None:
            self.request = request

    classes: list[type[Workflow]] = [Order, Takes, May, Any]
    assert all(Registry(WorkerOptions(workflows=[cls])) for cls in classes)
    found = [takes_request(cls) for cls in classes]
    assert found == [False, True, False, False]
    (problem,) = problems(WorkerOptions(workflows=[Other]))
    assert problem.endswith(
        "cannot be created: __init__ gets the request of the run: expected its parameter 'shelf' to be a StringValue, "
        "found int"
    )
    (problem,) = problems(WorkerOptions(workflows=[Named]))
    assert "or with the StringValue as its only argument (found (*, request:" in problem


def test_activities_of_the_wrong_kind() -> None:
    async def streams(_: object, request: StringValue) -> AsyncIterator[StringValue]:
        yield request

    made = activities_of(SHOP, charge=streams, refund=echo)
    where = f"activities {__name__}.Made (shop.v1.Shop)"
    assert problems(WorkerOptions(activities=[made])) == [
        f"{where}: charge yields; an activity returns its response",
        f"{where}: refund must take no argument (missing a required argument: 'request')",
    ]
    made = activities_of(SHOP, charge="not a method", refund=Till.refund)
    assert problems(WorkerOptions(activities=[made])) == [f"{where}: charge must be a method, for shop.v1.Charge"]


def test_decorated_methods_are_seen_through() -> None:
    def traced(method: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        @functools.wraps(method)
        async def wrapper(self: object, *args: object) -> object:
            return await method(self, *args)

        return wrapper

    order = cast("type[Workflow]", type("TracedOrder", (Order,), {"run": traced(Order.run)}))
    till = cast("type[Till]", type("TracedTill", (Till,), {"charge": traced(Till.charge)}))
    registry = Registry(WorkerOptions(workflows=[order], activities=[till()]))
    assert registry.activities["shop.v1.Charge"].is_async


def test_names_are_claimed_once() -> None:
    class Other(Order):
        pass

    assert problems(WorkerOptions(workflows=[Order, Other])) == [
        f"the name {name} is claimed twice: by workflow class {__name__}.Order (shop.v1.Order) "
        f"and by workflow class {__name__}.{Other.__qualname__} (shop.v1.Order)"
        for name in ("shop.v1.Order", "order-v0")
    ]
    assert len(problems(WorkerOptions(activities=[Till(), Till()]))) == 3
    clash = service("bar.v1.Bar", "b", activity("Pour", "pour", aliases=("charge-v0",)))
    bar = activities_of(clash, pour=echo)
    [problem] = problems(WorkerOptions(activities=[Till(), bar]))
    assert problem == (
        f"the name charge-v0 is claimed twice: by activities {__name__}.Till (shop.v1.Charge) "
        f"and by activities {__name__}.Made (shop.v1.Pour)"
    )


def test_two_versions_of_a_contract_do_not_mix() -> None:
    newer = service("shop.v1.Shop", "d2", activity("Audit", "audit"))
    made = activities_of(newer, audit=echo)
    [problem] = problems(WorkerOptions(activities=[Till(), made]))
    assert problem == (
        f"two versions of the contract of shop.v1.Shop are mixed: {__name__}.Till and {__name__}.Made were generated "
        "from different contracts; generate both from shop.v1.shop.proto again"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to serve: give it workflows=[...] or activities=[...]"),
        ({"max_cached_workflows": -1}, "max_cached_workflows must not be negative, not -1"),
        (
            {"graceful_shutdown_timeout": timedelta(seconds=-1)},
            "graceful_shutdown_timeout must not be negative, not -1 day, 23:59:59",
        ),
        ({"task_queue": ""}, "task_queue must not be empty; leave it out to poll the queues that the contract names"),
        (
            {"workflow_failure_exception_types": [KeyboardInterrupt, "E"]},
            "workflow_failure_exception_types: builtins.KeyboardInterrupt is not an exception class",
        ),
    ],
)
def test_limits(options: dict[str, Any], message: str) -> None:
    serving: dict[str, Any] = {"activities": [Till()]} if options else {}
    assert message in problems(WorkerOptions(**serving, **options))
