"""bpf/flow_events.h and exporter/capture/records.py say the same: the compiler is asked."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import pytest

from exporter.capture import records
from exporter.capture.loader import source_dir

STRUCTS: dict[str, tuple[struct.Struct, tuple[str, ...]]] = {
    "flow_entry": (
        records.FLOW_ENTRY,
        (
            "head",
            "key.source",
            "key.destination",
            "key.ports",
            "key.inspection",
            "packets",
            "bytes",
        ),
    ),
    "device": (records.DEVICE, records.DEVICE_FIELDS),
    "device_totals": (records.DEVICE_TOTALS, records.DeviceTotals._fields),
    "flow_event": (
        records.FLOW_EVENT,
        (
            *records.FLOW_EVENT_FIELDS,
            "flow.head",
            "flow.key.source",
            "flow.key.destination",
            "flow.key.ports",
            "flow.key.inspection",
            "flow.packets",
            "flow.bytes",
        ),
    ),
    "payload_event": (
        records.PAYLOAD_EVENT,
        (
            "boot_ns",
            "head",
            "key.source",
            "key.destination",
            "key.ports",
            "key.inspection",
            *records.PAYLOAD_EVENT_FIELDS[6:],
        ),
    ),
}
"""Of each struct, the fields in the order of its Python format."""

CONSTANTS = {
    name: value
    for name, value in vars(records).items()
    if name.isupper() and isinstance(value, int) and not name.startswith("_")
}


def _field_codes(layout: struct.Struct) -> list[str]:
    return re.findall(r"\d*s|[A-Za-z]", re.sub(r"(\d+)([A-Z])", _repeat, layout.format[1:]))


def _repeat(match: re.Match[str]) -> str:
    return match[2] * int(match[1])


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What the C compiler says of every constant, size and offset that Python has an opinion of."""
    wanted = [f'P("{name}", {name})' for name in CONSTANTS]
    for name, (_, fields) in STRUCTS.items():
        wanted.append(f'P("{name}", sizeof(struct {name}))')
        wanted += [
            f'P("{name}.{field}", offsetof(struct {name}, {field}))'
            f' P("sizeof {name}.{field}", sizeof(((struct {name} *)0)->{field}))'
            for field in fields
        ]
    wanted.append('P("bucket slots", sizeof(struct flow_bucket) / sizeof(struct flow_entry))')
    wanted.append('P("device buckets", sizeof(struct device_table) / sizeof(struct device))')
    folder = tmp_path_factory.mktemp("records")
    source = folder / "print.c"
    source.write_text(
        "#include <netinet/in.h>\n#include <stddef.h>\n#include <stdio.h>\n"
        "#define PROTOCOL_TCP IPPROTO_TCP\n#define PROTOCOL_UDP IPPROTO_UDP\n"
        f'#include "{source_dir() / "flow_events.h"}"\n'
        '#define P(name, value) printf("%s\\t%lld\\n", name, (long long)(value));\n'
        "int main(void) {\n" + "\n".join(wanted) + "\nreturn 0; }\n"
    )
    program = folder / "print"
    subprocess.run(["cc", "-Wall", "-Werror", "-o", program, source], check=True)
    output = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in (line.split("\t") for line in output.splitlines())}


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_has_the_value_that_the_header_gives_it(
    compiled: dict[str, int], name: str
) -> None:
    assert compiled[name] == CONSTANTS[name]


@pytest.mark.parametrize("name", STRUCTS)
def test_a_record_has_its_fields_where_the_header_has_them(
    compiled: dict[str, int], name: str
) -> None:
    layout, fields = STRUCTS[name]
    codes = _field_codes(layout)
    assert layout.format[0] == "=", "only this has no padding of its own"
    assert len(codes) == len(fields)
    offset = 0
    for field, code in zip(fields, codes, strict=True):
        size = struct.calcsize("=" + code)
        assert (compiled[f"{name}.{field}"], compiled[f"sizeof {name}.{field}"]) == (offset, size)
        offset += size
    assert compiled[name] == layout.size == offset


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("flow_entry", records.FLOW_ENTRY_FIELDS),
        ("payload_event", records.PAYLOAD_EVENT_FIELDS),
    ],
)
def test_fields_have_the_same_names(name: str, fields: tuple[str, ...]) -> None:
    short = [field.rpartition(".")[2] for field in STRUCTS[name][1]]
    assert tuple(short) == fields


def test_tables_have_as_many_places_as_the_constants_say(compiled: dict[str, int]) -> None:
    assert compiled["bucket slots"] == records.FLOW_BUCKET_SLOTS
    assert compiled["device buckets"] == records.DEVICE_BUCKETS


def test_every_state_direction_flag_and_type_of_the_header_is_known() -> None:
    header = _without_comments(source_dir() / "flow_events.h")
    enumerators = {
        name
        for body in re.findall(r"enum \w+ \{(.*?)\}", header, re.DOTALL)
        for name in re.findall(r"\b([A-Z_0-9]+) =", body)
    }
    assert len(enumerators) > 15
    assert enumerators <= CONSTANTS.keys()


def test_nothing_is_packed() -> None:
    """Padding is explicit, so that every field is aligned and read at once."""
    assert "packed" not in _without_comments(source_dir() / "flow_events.h")


def _without_comments(path: Path) -> str:
    return re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
