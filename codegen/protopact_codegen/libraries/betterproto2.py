"""betterproto2: dataclasses, all messages of a proto package in one Python package.

It flattens nested messages (`Outer.Inner` is `OuterInner`), changes the case of class and attribute names, and its
classes do not carry their descriptors. Its names follow betterproto2_compiler 0.10; the tests compare them.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator
from typing import ClassVar

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, Edition, FileDescriptorProto

from protopact_codegen.contract import Contract, File, Message
from protopact_codegen.diagnostics import Code, Diagnostic
from protopact_codegen.libraries.descriptors import Descriptors
from protopact_codegen.libraries.library import ClassRef, Library, importable, messages_of, relative_module
from protopact_codegen.options import MessageLibrary
from protopact_codegen.source import Path, Place

__all__ = ["Betterproto2"]

_CLASS_WORDS = re.compile(r"[A-Z]+(?![a-z])[0-9]*|(?=[A-Za-z0-9])[A-Z]*[a-z]*[0-9]*")
_ATTRIBUTE_SEAMS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])")

# What betterproto2's modules import: type checkers take that for the class.
_IMPORTED_CLASSES = frozenset(
    {
        "AsyncIterable",
        "AsyncIterator",
        "Deadline",
        "Descriptor",
        "EnumDescriptor",
        "Iterable",
        "Iterator",
        "MetadataLike",
        "Self",
    }
)

# Attributes with which a message breaks: betterproto2 needs these names on the class or the instance itself.
_BROKEN_ATTRIBUTES = frozenset(
    {
        "_abc_impl",
        "_betterproto",
        "_get_field_default",
        "_is_pydantic",
        "_postprocess_single",
        "_unknown_fields",
        "betterproto2",
        "is_set",
        "load",
        "to_dict",
    }
)

# Members that Python's Enum refuses, or takes for something else.
_BROKEN_MEMBER = re.compile(r"mro|_.+_|__.+")

_USE_GOOGLE = "generate for google's protobuf, with the option messages=google"


class Betterproto2(Library):
    """betterproto2.

    Attributes:
        import_root: Package under which the generated messages are importable; empty for imports relative to the
            generated module.
    """

    name: ClassVar[MessageLibrary] = "betterproto2"
    message_base: ClassVar[tuple[str, str]] = ("betterproto2", "Message")

    def __init__(self, import_root: str = "") -> None:
        self.import_root = import_root
        self._descriptors = Descriptors()

    def output_path(self, file: File) -> str:
        """Path of the module generated for `file`: in the Python package of its proto package."""
        stem = re.sub(r"\W", "_", file.path.rpartition("/")[2].removesuffix(".proto"), flags=re.ASCII)
        return "/".join([*_package(file.package), f"{'_' if stem[:1].isdigit() else ''}{stem}_protopact.py"])

    def class_ref(self, message: Message, file: File) -> ClassRef:
        """Where the module generated for `file` finds the class of `message`.

        Imports are relative, as betterproto2's own are, unless there is an `import_root`.
        """
        target = _package(message.package)
        relative = relative_module(_package(file.package), target)
        absolute = ".".join([*([self.import_root] if self.import_root else []), *target])
        names = (_class_name(message.name, message.package),)
        for module in (absolute, relative) if self.import_root else (relative,):
            if importable(module):
                return ClassRef(module, names, names)
        return ClassRef(relative, names, ())

    def attribute(self, field: FieldDescriptor) -> str:
        """Name of a field's attribute: snake case, keywords with a trailing underscore."""
        return _attribute(field.name)

    def has_presence(self, field: FieldDescriptor) -> bool:
        """Whether an unset field is None: messages, oneofs and `optional` of proto3, not `optional` of proto2."""
        return not field.is_repeated and (field.message_type is not None or field.containing_oneof is not None)

    def descriptors(self, messages: Iterable[Message]) -> bytes:
        """Serialized `FileDescriptorSet` of the files of `messages` and of all that their fields need."""
        return self._descriptors.serialize({each.file: each.descriptor.file for each in messages}.values())

    def check(self, contract: Contract) -> Iterator[Diagnostic]:
        """Find what betterproto2 cannot carry, in the contract's files and in those of its messages."""
        return _Check(contract, self._descriptors).run()


class _Check:
    def __init__(self, contract: Contract, descriptors: Descriptors) -> None:
        self._contract = contract
        self._descriptors = descriptors
        files = {file.path: file.descriptor for file in contract.files}
        files |= {message.file: message.descriptor.file for message in messages_of(contract)}
        self._files = descriptors.closure(files.values())

    def run(self) -> Iterator[Diagnostic]:
        yield from self._check_classes({file.package for file in self._files})
        for file in self._files:
            yield from self._check_edition(file)
            for found in _types(file):
                yield from self._check_fields(found) if isinstance(found, Descriptor) else self._check_values(found)

    def _check_classes(self, packages: set[str]) -> Iterator[Diagnostic]:
        """Check the classes of whole packages: one that cannot be spoils its package, a second one hides the first."""
        classes = dict[tuple[str, str], str]()
        for path in sorted(self._contract.sources):
            source = self._contract.sources[path]
            for full_name in source.type_names if source.package in packages else ():
                name = _class_name(full_name, source.package)
                first = classes.setdefault((source.package, name), full_name)
                place = source.place(full_name)
                subject = f"{_kind(place.path)} {full_name}"
                if not name or not importable(name):
                    named = f"the class {name}" if name else "a class without a name"
                    text = f"{subject} would be {named} in betterproto2, which Python does not allow"
                    yield _finding(Code.LIBRARY_NAME, place, text)
                elif name in _IMPORTED_CLASSES:
                    text = f"{subject} would be the class {name} in betterproto2, which imports something of that name"
                    yield _finding(Code.LIBRARY_NAME, place, text)
                elif first != full_name:
                    text = f"{subject} and {first} would both be the class {name} in betterproto2"
                    yield _finding(Code.LIBRARY_COLLISION, place, text)

    def _check_edition(self, file: FileDescriptor) -> Iterator[Diagnostic]:
        reduced = self._descriptors.reduce(file)
        if reduced.syntax == "editions":
            year = Edition.Name(reduced.edition).removeprefix("EDITION_")
            yield Diagnostic(
                Code.LIBRARY_EDITION,
                # Compilers keep the position of the line under the syntax, editions or not.
                Place(self._contract.sources[file.name], (FileDescriptorProto.SYNTAX_FIELD_NUMBER,)),
                f"{file.name} is written in edition {year}; betterproto2 knows no editions",
                f"write it in proto3, or {_USE_GOOGLE}",
            )

    def _check_fields(self, message: Descriptor) -> Iterator[Diagnostic]:
        attributes = dict[str, FieldDescriptor]()
        for field in message.fields:
            where = f"field {field.full_name}"
            name = _attribute(field.name)
            first = attributes.setdefault(name, field)
            if field.type == FieldDescriptor.TYPE_GROUP:
                yield _finding(
                    Code.LIBRARY_GROUP, self._contract.place(field), f"{where} is a group; betterproto2 knows no groups"
                )
            elif name in _BROKEN_ATTRIBUTES or name.startswith("__"):
                text = f"{where} would be the attribute {name} in betterproto2, which it needs for itself"
                yield _finding(Code.LIBRARY_NAME, self._contract.place(field), text)
            elif first is not field:
                text = f"{where} and field {first.full_name} would both be the attribute {name} in betterproto2"
                yield _finding(Code.LIBRARY_COLLISION, self._contract.place(field), text)
            elif not _reaches(message.file.package, field):
                text = (
                    f"{where} has a type of another package, whose name holds a keyword that betterproto2 cannot import"
                )
                yield _finding(Code.LIBRARY_NAME, self._contract.place(field), text)

    def _check_values(self, enum: EnumDescriptor) -> Iterator[Diagnostic]:
        for value, name in zip(enum.values, _members(enum), strict=True):
            if _BROKEN_MEMBER.fullmatch(name):
                text = f"value {value.name} of enum {enum.full_name} would be the member {name} in betterproto2"
                yield _finding(
                    Code.LIBRARY_NAME, self._contract.place(enum), f"{text}, which a Python enumeration cannot have"
                )


def _finding(code: Code, place: Place, message: str) -> Diagnostic:
    return Diagnostic(code, place, message, f"rename or rewrite it, or {_USE_GOOGLE}")


def _types(file: FileDescriptor) -> Iterator[Descriptor | EnumDescriptor]:
    """The messages and enums of a file, nested ones after what holds them, without the entries of maps."""
    yield from file.enum_types_by_name.values()
    pending = list[Descriptor](file.message_types_by_name.values())
    for message in pending:
        if not message.GetOptions().map_entry:
            yield message
            yield from message.enum_types
            pending += message.nested_types


def _kind(path: Path) -> str:
    """What stands at the path of a type in a file."""
    in_file, in_message = FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER, DescriptorProto.ENUM_TYPE_FIELD_NUMBER
    return "enum" if path[-2] == (in_file if len(path) == 2 else in_message) else "message"  # noqa: PLR2004 - not nested


def _package(package: str) -> list[str]:
    return package.split(".") if package else []


def _class_name(full_name: str, package: str) -> str:
    """Name of a class: every word capitalized, nesting and underscores gone."""
    return "".join(word.capitalize() for word in _CLASS_WORDS.findall(full_name[len(package) :]))


def _members(enum: EnumDescriptor) -> list[str]:
    """Names of an enum's members: without the enum's name as a prefix, if all values have it in one spelling."""
    names = [value.name for value in enum.values]
    bare = enum.name.replace("_", "").lower()
    first = names[0]
    ends = (end for end in range(1, len(first) + 1) if first[:end].replace("_", "").lower() == bare)
    end = next(ends, None)
    prefix = "" if end is None else f"{first[:end]}_"
    return [name[len(prefix) :] for name in names] if all(name.startswith(prefix) for name in names) else names


def _attribute(name: str) -> str:
    """Name of an attribute: a field name with an underscore in it, or without capitals, stays as it is."""
    if "_" not in name and name != name.lower():
        name = _ATTRIBUTE_SEAMS.sub("_", name).lower()
    return f"{name}_" if keyword.iskeyword(name) else name


def _reaches(package: str, field: FieldDescriptor) -> bool:
    """Whether the relative import that betterproto2 writes for the type of a field is one that Python can read."""
    used = field.message_type or field.enum_type
    if used is None or used.file.package == package:
        return True
    target = _package(used.file.package)
    own = _package(package)
    if own[: len(target)] == target:
        return importable(".".join(target[-1:]))
    return importable(relative_module(own, target))
