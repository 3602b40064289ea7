"""A plugin of pytest that makes a test of each stored history.

::

    pytest --protopact-histories tests/histories --protopact-workflows shop.workflows

The same stands in pyproject.toml, once::

    [tool.pytest.ini_options]
    protopact_histories = ["tests/histories"]
    protopact_workflows = ["shop.workflows:Buy"]

Each file becomes the test `tests/histories/buy.json::replay`: it fails when the workflow's code does not do what the
history holds. `protopact_replayer = "shop.testing:replayer"` names a `protopact.replay.Replayer`, or a function that
returns one, when codecs, interceptors or other options are needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from protopact.errors import ProtopactError, RegistrationError, WorkflowTaskError

if TYPE_CHECKING:
    from protopact.replay import Replayer

__all__ = ["HistoryFile", "HistoryItem", "pytest_addoption", "pytest_collect_file", "pytest_configure"]

# Modules of protopact that are large are imported when there are histories: every run of pytest loads this one.

_REPLAYER = pytest.StashKey["Replayer"]()
_FOLDERS = pytest.StashKey[list[Path]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("protopact", "histories of workflows")
    group.addoption(
        "--protopact-histories",
        action="append",
        metavar="DIR",
        default=[],
        help="folder of histories in Temporal's JSON (or one of them); each becomes a test that replays it",
    )
    group.addoption(
        "--protopact-workflows",
        action="append",
        metavar="MODULE[:CLASS],...",
        default=[],
        help="workflow classes to replay histories on, or modules that define them",
    )
    parser.addini("protopact_histories", "folders of histories, from the root", type="paths", default=[])
    parser.addini("protopact_workflows", "workflow classes to replay histories on, module:Class or module", type="args")
    parser.addini("protopact_replayer", "a Replayer, or a function that returns one: module:name", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Find the folders.

    Raises:
        pytest.UsageError: A folder is not there, or there are histories and no workflows.
    """
    asked = [config.invocation_params.dir / path for path in _option(config, "histories")]
    stored: list[Path] = config.getini("protopact_histories")
    folders = [Path(path).resolve() for path in (*asked, *stored)]
    if not folders:
        return
    missing = [str(folder) for folder in folders if not folder.exists()]
    if missing:
        raise pytest.UsageError(f"protopact: no histories at {', '.join(missing)}")
    if not (config.getini("protopact_replayer") or _workflows(config)):
        raise pytest.UsageError(
            "protopact: histories without workflows; name them with --protopact-workflows module:Class, or set "
            "protopact_workflows or protopact_replayer in pytest's configuration"
        )
    config.stash[_FOLDERS] = folders
    # Those of the configuration stand back when somebody names what to run, as testpaths do.
    also = folders if config.args_source is not pytest.Config.ArgsSource.ARGS else folders[: len(asked)]
    config.args += [str(folder) for folder in also]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> HistoryFile | None:
    """Collect a file that stands in a folder of histories."""
    if file_path.suffix != ".json" or _FOLDERS not in parent.config.stash:
        return None
    if not any(file_path.is_relative_to(folder) for folder in parent.config.stash[_FOLDERS]):
        return None
    return HistoryFile.from_parent(parent, path=file_path)  # pyright: ignore[reportUnknownMemberType] # pytest's own type


class HistoryFile(pytest.File):
    """A file that holds a history."""

    def collect(self) -> Iterable[HistoryItem]:
        """Its one test."""
        yield HistoryItem.from_parent(self, name="replay")  # pyright: ignore[reportUnknownMemberType] # pytest's own type


class HistoryItem(pytest.Item):
    """The replay of a history."""

    def runtest(self) -> None:
        """Replay it.

        Raises:
            ProtopactError: It does not replay.
        """
        from protopact.testing import histories  # noqa: PLC0415 - see above

        _replayer(self.config).replay(histories.read(self.path))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - pytest's own representations
        """The report alone, without the frames of the replayer."""
        error = excinfo.value
        if isinstance(error, WorkflowTaskError):
            from protopact.testing import histories  # noqa: PLC0415 - see above

            return histories.describe(error)
        if isinstance(error, ProtopactError):
            return str(error)
        return super().repr_failure(excinfo, *args, **kwargs)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it stands."""
        return self.path, None, f"replay of {self.path.name}"


def _option(config: pytest.Config, name: str) -> list[str]:
    given: list[str] | None = config.getoption(f"--protopact-{name}")
    return given or []


def _workflows(config: pytest.Config) -> list[str]:
    return [*_option(config, "workflows"), *config.getini("protopact_workflows")]


def _replayer(config: pytest.Config) -> Replayer:
    from protopact.replay import Replayer  # noqa: PLC0415 - see above
    from protopact.testing import histories  # noqa: PLC0415 - see above

    found = config.stash.get(_REPLAYER, None)
    if found is None:
        name = config.getini("protopact_replayer")
        given = _workflows(config)
        if name and given:
            raise RegistrationError("protopact_replayer has its own workflows: leave out protopact_workflows")
        found = histories.load_replayer(name) if name else Replayer(workflows=histories.load_workflows(given))
        config.stash[_REPLAYER] = found
    return found
