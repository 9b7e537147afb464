"""Write config.schema.yaml beside this file: `make schema`. Editors complete and check config files by it; the workflow derives it anew."""

from pathlib import Path

import yaml

from vidreason.config.schema import run_schema
from vidreason.training.registered import registered

HEADER = "# Written by `make schema` from src/vidreason/config/settings.py; do not edit.\n"


def schema_text() -> str:
    """The file's text."""
    text = yaml.dump(
        run_schema(registered()), Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True, default_flow_style=None
    )
    return HEADER + text


class _Plain(yaml.SafeDumper):
    """Writes a value that occurs twice out both times."""

    def ignore_aliases(self, data: object) -> bool:
        return True


if __name__ == "__main__":
    Path(__file__).with_name("config.schema.yaml").write_text(schema_text(), encoding="utf-8")
