"""The reach of a deployment: what holds for an element is what holds for the workflows that call or answer it.

A pinned run stays with its workers, and so does what it calls and answers. What a run that moves to newer workers calls
and answers moves with it, whatever the service says in which that stands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from protopact_codegen.contract import Kind
from protopact_codegen.versioning.elements import Matcher
from protopact_codegen.versioning.settings import Deployment, ServiceSettings, Settings
from protopact_codegen.versioning.snapshot import ElementFacts

__all__ = ["Reach"]

_PINNED = '"pinned"'
_UPGRADES = '"auto-upgrade"'


class Reach:
    """What holds for the elements of a release.

    Args:
        matcher: The release and the contract.
        settings: What holds for services.
    """

    def __init__(self, matcher: Matcher, settings: Settings) -> None:
        self._matcher, self._settings = matcher, settings
        self._of_callers: set[Deployment] = set()
        self._of_answerers: dict[str, set[Deployment]] = defaultdict(set)
        self._known: dict[ServiceSettings, ServiceSettings] = {}
        pairs = [(each, matcher.find(each)) for each in _workflows(matcher.old.elements.values())]
        found = {after.rpc for _, after in pairs if after is not None}
        versions = [tuple(each for each in pair if each is not None) for pair in pairs]
        versions += [(each,) for each in _workflows(matcher.new.elements.values()) if each.rpc not in found]
        for workflow in versions:
            deployment = self._deployment(*workflow)
            self._of_callers.add(deployment)
            for handler in {handler.rpc for each in workflow for handler in each.handlers}:
                self._of_answerers[handler].add(deployment)

    def of(self, before: ElementFacts, after: ElementFacts | None) -> ServiceSettings:
        """What holds for an element of the release, and what it is in the contract; equal settings are the same."""
        versions = (before,) if after is None else (before, after)
        settings = self._settings.of(*(each.service for each in reversed(versions)))
        deployments = {self._deployment(*versions)}
        if before.kind is Kind.ACTIVITY:
            deployments |= self._of_callers  # any workflow may call it
        elif before.kind is not Kind.WORKFLOW:
            deployments = {each for version in versions for each in self._of_answerers[version.rpc]} or deployments
        # Where one workflow's workers stay with their runs and another's do not, versions meet.
        (deployment,) = deployments if len(deployments) == 1 else (Deployment.ROLLING,)
        found = ServiceSettings(settings.encodings, deployment, settings.clients)
        return self._known.setdefault(found, found)

    def is_pinned(self, before: ElementFacts) -> bool:
        """Whether runs of a workflow of the release stay with their workers; without a behavior the settings say it."""
        behavior = before.options.get("versioning_behavior")
        return behavior == _PINNED or (behavior is None and self._deployment(before) is Deployment.PINNED)

    def _deployment(self, *versions: ElementFacts) -> Deployment:
        """How an element is deployed that is, and was, called so."""
        deployment = self._settings.of(*(each.service for each in reversed(versions))).deployment
        upgrades = any(each.options.get("versioning_behavior") == _UPGRADES for each in versions)
        return Deployment.ROLLING if upgrades and deployment is Deployment.PINNED else deployment


def _workflows(elements: Iterable[ElementFacts]) -> list[ElementFacts]:
    return [each for each in elements if each.kind is Kind.WORKFLOW]
