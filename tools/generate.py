"""Writes everything that is generated and committed: into the repository, or below the folder that is named."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ANNOTATIONS = "protopact/v1/annotations.proto"
# The module that protoc writes demands a protobuf as new as protoc, though it runs on every one since 4.21.
RUNTIME_CHECK = (
    re.compile(r"^from google\.protobuf import runtime_version as _runtime_version\n", re.MULTILINE),
    re.compile(r"^_runtime_version\.ValidateProtobufRuntimeVersion\(\n(?: .*\n)*\)\n", re.MULTILINE),
)


def run(*command: object) -> None:
    """Run a command in the repository, with this interpreter's scripts found first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run([*map(str, command)], cwd=ROOT, env=os.environ | {"PATH": path}, check=True)


def write_annotations(out: Path) -> None:
    """Write the module of the annotations and its stub below `out`."""
    out.mkdir(parents=True, exist_ok=True)
    protoc = (sys.executable, "-m", "grpc_tools.protoc", "--proto_path=runtime")
    run(*protoc, f"--python_out={out}", f"--mypy_out=quiet:{out}", ANNOTATIONS)
    module = out / ANNOTATIONS.replace(".proto", "_pb2.py")
    text = module.read_text()
    for part in RUNTIME_CHECK:
        text, removed = part.subn("", text)
        if not removed:
            sys.exit(
                f"{module}: no line of the runtime check matches {part.pattern!r}; protoc writes it differently now"
            )
    module.write_text(text)


def write_contracts_of_tests(out: Path) -> None:
    """Write what is generated for the contracts that the tests are written on, beside them."""
    for folder in ("tests/embedded", "tests/interop", "tests/replay", "tests/temporal"):
        (out / folder).mkdir(parents=True, exist_ok=True)
        options = f"messages=google,import_root={folder.replace('/', '.')}"
        run(
            *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={folder}", "--proto_path=runtime"),
            *(f"--python_out={out / folder}", f"--mypy_out=quiet:{out / folder}"),
            f"--protopact_out={options}:{out / folder}",
            *(path.relative_to(ROOT / folder) for path in sorted((ROOT / folder).rglob("*.proto"))),
        )
    write_contracts_of_conformance(out)


def write_contracts_of_conformance(out: Path) -> None:
    """Write what is generated for the conformance suite's contract, for each message library."""
    folder = ROOT / "tests/conformance/contracts"
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*.proto"))]
    protoc = (sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={folder}", "--proto_path=runtime")
    for library in ("google", "betterproto2"):
        written = out / "tests/conformance" / library
        written.mkdir(parents=True, exist_ok=True)
        if library == "google":
            out_of_library = [f"--python_out={written}", f"--mypy_out=quiet:{written}"]
            options = f"messages=google,import_root=tests.conformance.{library}:"
        else:
            out_of_library = [f"--python_betterproto2_out=client_generation=none:{written}"]
            options = ""
        run(*protoc, *out_of_library, f"--protopact_out={options}{written}", *files)


def main() -> None:
    """Write the annotations' modules, by buf.gen.yaml the example contracts, and the contracts of the tests."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    write_annotations(root / "runtime")
    codegen = root / "codegen/protopact_codegen"
    codegen.mkdir(parents=True, exist_ok=True)
    run(sys.executable, "tools/plugin_annotations.py", codegen)
    run("buf", "generate", "--output", root)
    write_contracts_of_tests(root)


if __name__ == "__main__":
    main()
