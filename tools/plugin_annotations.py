"""Writes the plugin's own copy of the annotations, from the schema beside the runtime, into a folder."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).parents[1]
SCHEMA = "protopact/v1/annotations.proto"
MODULE = """\
# Written by tools/plugin_annotations.py from {schema}. DO NOT EDIT.
\"\"\"The annotations as this version of the plugin knows them, in a pool of its own.

The default pool may hold another version of the same file, which the runtime or a generated module put there.
\"\"\"

from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory
from google.protobuf.compiler import plugin_pb2

_POOL = descriptor_pool.DescriptorPool()
for _file in (descriptor_pb2, duration_pb2, plugin_pb2):
    _POOL.AddSerializedFile(_file.DESCRIPTOR.serialized_pb)
_POOL.AddSerializedFile(
{serialized}
)

DESCRIPTOR = _POOL.FindFileByName("{schema}")
globals().update(DESCRIPTOR.extensions_by_name)
globals().update((_name, message_factory.GetMessageClass(_m)) for _name, _m in DESCRIPTOR.message_types_by_name.items())
for _enum in DESCRIPTOR.enum_types_by_name.values():
    globals().update((_value.name, _value.number) for _value in _enum.values)
"""


def write_plugin_annotations(out: Path) -> None:
    """Write `annotations_pb2.py`, its descriptor in a private pool, and its stub into the folder `out`."""
    with tempfile.TemporaryDirectory() as scratch:
        descriptors = Path(scratch) / "annotations.binpb"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT / 'runtime'}"]
        scripts = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        outputs = [f"--descriptor_set_out={descriptors}", f"--mypy_out=quiet:{scratch}"]
        subprocess.run([*command, *outputs, SCHEMA], check=True, env=scripts)
        (file,) = FileDescriptorSet.FromString(descriptors.read_bytes()).file
        stub = (Path(scratch) / SCHEMA.replace(".proto", "_pb2.pyi")).read_text()
    serialized = file.SerializeToString(deterministic=True)
    lines = (serialized[at : at + 32] for at in range(0, len(serialized), 32))
    text = MODULE.format(schema=SCHEMA, serialized="\n".join(f"    {line!r}" for line in lines))
    (out / "annotations_pb2.py").write_text(text)
    (out / "annotations_pb2.pyi").write_text(stub)


if __name__ == "__main__":
    write_plugin_annotations(Path(sys.argv[1]))
