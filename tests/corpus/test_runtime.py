"""The runtime takes what is generated for the corpus: workers register it, ids are computed from it, workflows run."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from protopact import contract, template, testing
from protopact.engine import WorkerOptions
from protopact.errors import UpdateFailedError
from protopact.worker import Registry

if TYPE_CHECKING:
    from tests.corpus.conftest import Corpus

LIBRARIES = ("betterproto2", "google")

# `Any` in this module: classes of modules that are generated while the tests run.


def found(corpus: Corpus, library: str, name: str) -> Any:  # noqa: ANN401 - see above
    return next(each for each in corpus.modules(library) if each.__name__.endswith(f"{name}_protopact"))


def implementation(base: Any) -> Any:  # noqa: ANN401 - see above
    """A class that implements every abstract method of a generated one."""

    async def asynchronous(self: object, *requests: object) -> None:
        del self, requests

    def plain(self: object, *requests: object) -> None:
        del self, requests

    methods = {
        name: asynchronous if inspect.iscoroutinefunction(getattr(base, name)) else plain
        for name in base.__abstractmethods__
    }
    return type(f"Own{base.__name__}", (base,), methods)


def combined(own: type, base: Any) -> Any:  # noqa: ANN401 - see above
    """The class that one would write as `class Own(base)` if the base were known to type checkers."""
    return type(own.__name__, (own, base), {})


def service_classes(module: ModuleType) -> list[Any]:
    return [getattr(module, name) for name in module.__all__]


def workflow_classes(service: type) -> list[Any]:
    return [value for value in vars(service).values() if inspect.isclass(value) and hasattr(value, "Handle")]


@pytest.mark.parametrize("library", LIBRARIES)
def test_workers_take_every_service_of_the_corpus(corpus: Corpus, library: str) -> None:
    services = [service for module in corpus.modules(library) for service in service_classes(module)]
    workflows = [implementation(cls) for service in services for cls in workflow_classes(service)]
    activities = [implementation(service.Activities)() for service in services if hasattr(service, "Activities")]
    registry = Registry(WorkerOptions(workflows=workflows, activities=activities, services=services, task_queue="all"))
    described: list[contract.Service] = [service.__protopact__() for service in services]
    registered = [(each.name, *each.aliases) for service in described for each in service.workflows]
    assert set(registry.workflows) == {name for names in registered for name in names}
    registered = [(each.name, *each.aliases) for service in described for each in service.activities]
    assert set(registry.activities) == {name for names in registered for name in names}


def fill(request: Any, inner: Any, text: contract.Template, values: dict[str, str]) -> None:  # noqa: ANN401 - see above
    """Set the fields that a template names, by the attributes that it names."""
    for part in text.parts:
        if isinstance(part, contract.Field):
            *outer, name = part.path
            setattr(inner if outer else request, name, values[part.name])


@pytest.mark.parametrize("library", LIBRARIES)
def test_ids_are_the_same_for_every_library(corpus: Corpus, library: str) -> None:
    service: contract.Service = found(corpus, library, "templates").TemplateService.__protopact__()
    kinds, names, attributes = service.workflows[:3]
    cls: Any = kinds.request.type
    wide = 2**63
    request = cls(text="A b", whole=-1, wide=wide, truth=True, level=1, maybe="m", left="l", ratio=0.5, labels=["x"])
    assert kinds.id
    uuid = UUID(int=0)
    written = template.render(kinds.id, request, where="id", uuid4=lambda: uuid)
    assert written == f"ünï {{code}}/a-b/a b/A B/-1/{wide}/true/LEVEL_HIGH/m/l/{uuid}"

    inner: Any = cls.Inner() if library == "google" else sys.modules[cls.__module__].FieldsInner()
    assert names.id
    fields = [part.name for part in names.id.parts if isinstance(part, contract.Field)]
    fill(request, inner, names.id, {field: f"<{field}>" for field in fields})
    request = cls.FromString(request.SerializeToString() + cls(inner=inner).SerializeToString())
    written = template.render(names.id, request, where="id", uuid4=lambda: uuid)
    assert written == "/".join(f"<{field}>" for field in fields)

    found_attributes = template.search_attributes(attributes, request, uuid4=lambda: uuid)
    assert found_attributes == {
        "Keyword": "k-A b",
        "Text": 'A b "quoted" \\ <inner.class>',
        "Int": wide,
        "Double": 0.5,
        "Bool": True,
        "List": ("x",),
    }


@pytest.mark.parametrize("library", LIBRARIES)
async def test_empty_is_no_argument_and_no_result(corpus: Corpus, library: str) -> None:
    service = found(corpus, library, "known").KnownService
    described: contract.Service = service.__protopact__()
    timestamp: Any = described.workflows[0].request.type
    duration: Any = described.workflows[0].response.type
    changed = next(ref.update for ref in described.workflows[1].updates if ref.update.method == "change")
    everything: Any = changed.response.type

    class Nothing:
        nudge: Any
        tell: Any

        def __init__(self) -> None:
            self.changes = 0

        async def run(self) -> None:
            assert await self.nudge.receive() is None
            assert (await self.tell.receive()).seconds == 5
            assert await service.act_nothing() is None

        def validate_change_nothing(self) -> None:
            if self.changes:
                raise ValueError("once is enough")

        async def change_nothing(self) -> None:
            self.changes += 1

        async def change(self, request: Any) -> Any:  # noqa: ANN401 - see above
            assert request.seconds == 7
            return everything()

    class Activities:
        async def act_nothing(self) -> None:
            pass

    activities = combined(Activities, implementation(service.Activities))()
    workflow = combined(Nothing, service.Nothing)
    async with testing.Environment() as env, env.worker(workflows=[workflow], activities=[activities]):
        client = service.Client(env)
        handle, update = await client.start_nothing_with_change_nothing()
        assert handle.id == "nothing"
        assert await update.result() is None
        with pytest.raises(UpdateFailedError):
            await handle.change_nothing()
        assert isinstance(await handle.change(duration(seconds=7)), everything)
        again = await client.start_nothing_with_nudge()
        assert again.run_id == handle.run_id
        await handle.tell(timestamp(seconds=5))
        assert await handle.result() is None


@pytest.mark.parametrize("library", LIBRARIES)
async def test_names_that_are_reserved_work_under_their_new_name(corpus: Corpus, library: str) -> None:
    service = found(corpus, library, "keywords").HandlerNames
    described: contract.Service = service.__protopact__()
    ask: Any = described.workflows[0].request.type
    answer: Any = described.workflows[0].response.type

    class Run:
        run_: Any
        id_: Any

        def __init__(self) -> None:
            self.said = list[str]()

        async def run(self, request: Any) -> Any:  # noqa: ANN401 - see above
            self.said.append(request.text)
            self.said.append((await self.run_.receive()).text)
            self.said.append((await self.id_.receive()).text)
            return answer(text=" ".join(self.said))

        async def on_pass_(self, request: Any) -> None:  # noqa: ANN401 - see above
            self.said.append(request.text)

        def result_(self, request: Any) -> Any:  # noqa: ANN401 - see above
            return answer(text=f"{request.text} {len(self.said)}")

        async def del_(self, request: Any) -> Any:  # noqa: ANN401 - see above
            self.said.append(request.text)
            return answer(text="done")

        def validate_del_(self, request: Any) -> None:  # noqa: ANN401 - see above
            assert request.text

    workflow = combined(Run, implementation(service.Run))
    async with testing.Environment() as env, env.worker(workflows=[workflow]):
        client = service.Client(env)
        handle = await client.start_run(ask(text="a"))
        await handle.pass_(ask(text="b"))
        assert (await handle.del_(ask(text="c"))).text == "done"
        await handle.run_(ask(text="d"))
        await handle.id_(ask(text="e"))
        assert (await handle.result()).text == "a b c d e"
        assert (await handle.result_(ask(text="n"))).text == "n 5"
