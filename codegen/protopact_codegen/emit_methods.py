"""The methods of generated classes: what each is called, takes and returns, and what it hands on to the runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from protopact_codegen.contract import Element, Handler, Service, Workflow
from protopact_codegen.emit_expression import Call, docstring, signature, text, write
from protopact_codegen.imports import PARAMETERS, Imports
from protopact_codegen.names import change_name, client_methods, method_name, service_class, workflow_class

__all__ = ["Method", "Methods", "describe"]


@dataclass(frozen=True)
class Method:
    """A method of a generated class.

    Attributes:
        start: Its first words: `async def pause`.
        takes: Its parameters.
        returns: What it returns.
        doc: The text of its docstring.
        body: The statement that it consists of: a call, behind some words. None when there is only the docstring.
        decorator: What stands above it, without the `@`; empty when nothing does.
    """

    start: str
    takes: Sequence[str]
    returns: str
    doc: str
    body: tuple[str, Call] | None = None
    decorator: str = ""

    def write(self, indent: int) -> str:
        """Write it, from its first word on."""
        lines = [f"@{self.decorator}"] if self.decorator else []
        lines.append(signature(self.start, self.takes, self.returns, indent))
        lines.append(f"    {docstring(self.doc, indent + 4)}")
        if self.body:
            before, call = self.body
            lines.append(f"    {write(call, indent + 4, before)}")
        return f"\n{' ' * indent}".join(lines)


class Methods:
    """The methods of the classes of one service.

    Attributes:
        reference: Name of the service's class within its other classes: another one, where its own means something
            else there.
    """

    def __init__(self, service: Service, imports: Imports, constant: Callable[[Element], str]) -> None:
        self._service = service
        self._use = imports.use
        self._type = imports.message
        self._constant = constant
        name = service_class(service)
        taken = PARAMETERS.union(
            *(self._client_names(workflow) | _handler_names(workflow) for workflow in service.workflows)
        )
        self.reference = f"_{name}" if name in taken else name

    def worker(self, workflow: Workflow) -> Iterator[Method]:
        """Methods of a workflow's worker base class."""
        abstract = self._use("abstractmethod")
        doc = "Run the workflow; what this returns is its result."
        yield Method("async def run", self._takes(workflow), self._type(workflow.response), doc, decorator=abstract)
        takes = [*self._takes(workflow)[1:], self._options("ContinueAsNewOptions")]
        body = _call("", f"{self._use('workflow')}.continue_as_new", *self._given(workflow), "options")
        doc = f"End this run, and go on as a new run of `{workflow.rpc}`."
        yield Method("def continue_as_new", takes, self._use("NoReturn"), doc, body, "staticmethod")
        for signal in (ref.signal for ref in workflow.signals):
            name = method_name(signal)
            doc = f"Handle the signal `{signal.rpc}`. A class that overrides this has no channel `{name}`."
            yield Method(f"async def on_{name}", self._takes(signal), "None", doc)
        for query in (ref.query for ref in workflow.queries):
            start, returns = f"def {method_name(query)}", self._type(query.response)
            yield Method(start, self._takes(query), returns, describe(query), decorator=abstract)
        for update, validate in ((ref.update, ref.validate) for ref in workflow.updates):
            start, returns = f"async def {method_name(update)}", self._type(update.response)
            yield Method(start, self._takes(update), returns, describe(update), decorator=abstract)
            if validate:
                doc = f"Reject the update `{update.rpc}` by raising; by default every one is accepted."
                yield Method(f"def validate_{method_name(update)}", self._takes(update), "None", doc)
        yield from self._child_starts(workflow)

    def changes(self, workflow: Workflow) -> Iterator[Method]:
        """Methods with which a workflow's code asks for the changes that its contract declares."""
        for change in workflow.changes:
            name = change_name(change)
            if change.deprecated:
                doc = f"Say that the branch from before `{change.id}` (since {change.since}) is gone."
                body = _call("", f"{self._use('workflow')}.deprecate_patch", text(change.id))
                yield Method(f"def {name}", [], "None", doc, body, "staticmethod")
            else:
                doc = f"Whether this run takes the branch of `{change.id}`, which comes with {change.since}."
                body = _call("return ", f"{self._use('workflow')}.patched", text(change.id))
                yield Method(f"def {name}", [], "bool", doc, body, "staticmethod")

    def _child_starts(self, workflow: Workflow) -> Iterator[Method]:
        """Methods of a workflow's class with which the code of other workflows starts it, or finds its runs."""
        runtime, name = self._use("workflow"), f"{self.reference}.{workflow_class(workflow)}"
        takes = [*self._takes(workflow)[1:], self._options("ChildWorkflowOptions")]
        child, external = f"{name}.ChildHandle", f"{name}.ExternalHandle"
        body = _call("return await ", f"{runtime}.start_child_workflow", child, *self._given(workflow), "options")
        doc = f"Start `{workflow.rpc}` as a child of the workflow whose code calls, and wait until it has started."
        yield Method("async def start_child", takes, child, doc, body, "staticmethod")
        body = _call("return await ", f"{runtime}.execute_child_workflow", *self._given(workflow), "options")
        doc = f"Start `{workflow.rpc}` as a child of the workflow whose code calls, and wait for its result."
        yield Method("async def execute_child", takes, self._type(workflow.response), doc, body, "staticmethod")
        arguments = (external, self._constant(workflow), "workflow_id", "run_id")
        body = _call("return ", f"{runtime}.external_workflow", *arguments)
        takes = ["workflow_id: str", "/", "*", "run_id: str | None = None"]
        doc = f"A handle in another workflow's code, on the latest run of `{workflow.rpc}` with an id, or on `run_id`."
        yield Method("def external", takes, external, doc, body, "staticmethod")

    def child(self, workflow: Workflow) -> Iterator[Method]:
        """Methods of a workflow's handle in its parent."""
        return self._signals(workflow, "signal_child_workflow")

    def external(self, workflow: Workflow) -> Iterator[Method]:
        """Methods of a workflow's handle in another workflow."""
        return self._signals(workflow, "signal_external_workflow")

    def _signals(self, workflow: Workflow, function: str) -> Iterator[Method]:
        for signal in (ref.signal for ref in workflow.signals):
            body = _call("await ", f"{self._use('workflow')}.{function}", "self", *self._given(signal))
            start = f"async def {method_name(signal)}"
            yield Method(start, self._takes(signal), "None", describe(signal), body)

    def handle(self, workflow: Workflow) -> Iterator[Method]:
        """Methods of a workflow's handle."""
        client = self._use("client")
        for signal in (ref.signal for ref in workflow.signals):
            body = _call("await ", f"{client}.signal_workflow", "self", *self._given(signal))
            start = f"async def {method_name(signal)}"
            yield Method(start, self._takes(signal), "None", describe(signal), body)
        for query in (ref.query for ref in workflow.queries):
            body = _call("return await ", f"{client}.query_workflow", "self", *self._given(query))
            start, returns = f"async def {method_name(query)}", self._type(query.response)
            yield Method(start, self._takes(query), returns, describe(query), body)
        for update in (ref.update for ref in workflow.updates):
            name, returns = method_name(update), self._type(update.response)
            takes = [*self._takes(update), self._options("UpdateOptions")]
            body = _call("return await ", f"{client}.execute_update", "self", *self._given(update), "options")
            yield Method(f"async def {name}", takes, returns, describe(update), body)
            body = _call("return await ", f"{client}.start_update", "self", *self._given(update), "options")
            doc = describe(update, "Start the update, and wait as far as its stage says.")
            yield Method(f"async def start_{name}", takes, f"{client}.UpdateHandle[{returns}]", doc, body)

    def activities(self) -> Iterator[Method]:
        """Methods of the activities class."""
        for activity in self._service.activities:
            start, response = f"def {method_name(activity)}", self._type(activity.response)
            returns = f"{self._use('Awaitable')}[{response}] | {response}"
            abstract = self._use("abstractmethod")
            yield Method(start, self._takes(activity), returns, describe(activity), decorator=abstract)

    def client(self) -> Iterator[Method]:
        """Methods of the client."""
        for workflow in self._service.workflows:
            yield from self._starts(workflow)
            yield from self._starts_with(workflow)

    def stubs(self) -> Iterator[Method]:
        """Methods of the service's class with which workflow code calls activities."""
        return self._calls("start_activity", "ActivityOptions")

    def local_stubs(self) -> Iterator[Method]:
        """Methods with which workflow code calls activities locally."""
        return self._calls("start_local_activity", "LocalActivityOptions")

    def _calls(self, function: str, options: str) -> Iterator[Method]:
        for activity in self._service.activities:
            takes = [*self._takes(activity)[1:], self._options(options)]
            returns = f"{self._use('workflow')}.ActivityHandle[{self._type(activity.response)}]"
            body = _call("return ", f"{self._use('workflow')}.{function}", *self._given(activity), "options")
            yield Method(f"def {method_name(activity)}", takes, returns, describe(activity), body, "staticmethod")

    def _starts(self, workflow: Workflow) -> Iterator[Method]:
        client, names, handle = self._use("client"), client_methods(workflow), self._handle(workflow)
        takes = [*self._takes(workflow), self._options("StartOptions")]
        body = _call("return await ", f"{client}.start_workflow", "self", handle, *self._given(workflow), "options")
        doc = describe(workflow, f"Start the workflow `{workflow.rpc}`.")
        yield Method(f"async def {names.start}", takes, handle, doc, body)
        body = _call("return await ", f"{client}.execute_workflow", "self", *self._given(workflow), "options")
        doc = describe(workflow, f"Start the workflow `{workflow.rpc}`, and wait for its result.")
        yield Method(f"async def {names.execute}", takes, self._type(workflow.response), doc, body)
        takes = ["self", "workflow_id: str", "/", "*", "run_id: str | None = None"]
        body = _call("return ", handle, "self.engine", self._constant(workflow), "workflow_id", "run_id=run_id")
        doc = f"A handle on the latest run of `{workflow.rpc}` with an id, or on exactly `run_id`."
        yield Method(f"def {names.handle}", takes, handle, doc, body)

    def _starts_with(self, workflow: Workflow) -> Iterator[Method]:
        client, names, handle = self._use("client"), client_methods(workflow), self._handle(workflow)
        arguments = ("self", handle, *self._given(workflow))
        for signal in (ref.signal for ref in workflow.signals if ref.start):
            takes = [*self._takes(workflow, ("signal", signal)), self._options("StartOptions")]
            body = _call(
                "return await ", f"{client}.signal_with_start", *arguments, *self._given(signal, "signal"), "options"
            )
            doc = f"Send the signal `{signal.rpc}`, and start the workflow `{workflow.rpc}` first if it does not run."
            yield Method(f"async def {names.start_with(signal)}", takes, handle, describe(signal, doc), body)
        for update in (ref.update for ref in workflow.updates if ref.start):
            takes = [*self._takes(workflow, ("update", update)), self._options("UpdateWithStartOptions")]
            body = _call(
                "return await ", f"{client}.update_with_start", *arguments, *self._given(update, "update"), "options"
            )
            doc = f"Send the update `{update.rpc}`, and start the workflow `{workflow.rpc}` first if it does not run."
            returns = f"tuple[{handle}, {client}.UpdateHandle[{self._type(update.response)}]]"
            yield Method(f"async def {names.start_with(update)}", takes, returns, describe(update, doc), body)

    def _handle(self, workflow: Workflow) -> str:
        return f"{self.reference}.{workflow_class(workflow)}.Handle"

    def _takes(self, element: Element, *others: tuple[str, Handler]) -> list[str]:
        """Parameters: `self`, and a positional-only one for each request that is not empty."""
        requests = [("request", element.request), *((name, other.request) for name, other in others)]
        found = [f"{name}: {self._type(message)}" for name, message in requests if not message.empty]
        return ["self", *found, *(["/"] if found else [])]

    def _options(self, name: str) -> str:
        return f"**options: {self._use('Unpack')}[{self._use('policy')}.{name}]"

    def _given(self, element: Element, parameter: str = "request") -> tuple[str, str]:
        """Arguments for the runtime: an element of the contract, and the parameter that holds its request."""
        return self._constant(element), "None" if element.request.empty else parameter

    def _client_names(self, workflow: Workflow) -> set[str]:
        names = client_methods(workflow)
        started = [ref.signal for ref in workflow.signals] + [ref.update for ref in workflow.updates]
        return {names.start, names.execute, names.handle, *map(names.start_with, started)}


def describe(element: Element | Service, first: str = "") -> str:
    """The text of an element's docstring, from its comment; `first` stands above."""
    kind = "Service" if isinstance(element, Service) else element.kind.value.capitalize()
    paragraphs = [first, element.doc or ("" if first else f"{kind} `{element.full_name}`.")]
    if element.deprecated:
        paragraphs.append("Deprecated.")
    return "\n\n".join(filter(None, paragraphs))


def _handler_names(workflow: Workflow) -> set[str]:
    """Names that the handlers of a workflow have in its class."""
    handlers = [ref.signal for ref in workflow.signals] + [ref.query for ref in workflow.queries]
    names = {method_name(each) for each in [*handlers, *(ref.update for ref in workflow.updates)]}
    return names | {f"{prefix}_{name}" for name in names for prefix in ("on", "validate")}


def _call(before: str, function: str, *arguments: str) -> tuple[str, Call]:
    return before, Call(function, [("", argument) for argument in arguments])
