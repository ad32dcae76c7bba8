"""JSON values as YAML text that reads back as the same values, whatever YAML's older rules would make of its words."""

import re

import yaml
from plimsoll_runtime.json_types import JsonObject

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_ ./@-]*")
_LINE = 120


def yaml_text(value: JsonObject) -> str:
    """YAML, in the order of the value's own keys."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_LINE))


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Words stay plain; whatever else might read as a number or the like stands in quotes."""
    style = None if _PLAIN.fullmatch(text) and not text.endswith(" ") else "|" if _is_block(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _is_block(text: str) -> bool:
    return "\n" in text and text.replace("\n", "").isprintable()


_Dumper.add_representer(str, _string)
