"""Layers that a recipe names: those of one backbone mean nothing to another."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pipelines.recipes import SHARED
from pipelines.stages import STAGES
from transfer.backbones.cuts import BLOCKS, TOP
from transfer.backbones.options import BackboneOptions
from transfer.backbones.table import find_backbone
from transfer.errors import InputError

CUTS = ("cut", "use_cuts")


def check_layers(
    tables: Mapping[str, Mapping[str, Any]],
    source: str,
    stage: str,
    backbone: str,
    given: Collection[str],
) -> None:
    """Refuses a recipe that names layers of its own backbone where another one is asked for.

    Looks at names alone, so that it takes no time: building the backbone says which layers it has.

    Args:
        tables: The recipe's, of values that `fill` takes.
        source: What the recipe is, for the message.
        stage: Name of the stage that reads them; "all" reads those of every stage.
        backbone: The one asked for.
        given: Names of options for which flags stand in place of the recipe's values.

    Raises:
        InputError: One line; names option, layer and backbones.
    """
    own = find_backbone(tables.get("backbone", {}).get("backbone", BackboneOptions.backbone))
    asked = find_backbone(backbone)
    if own == asked:
        return
    of_stage = (*SHARED, stage)
    for table in dict.fromkeys((*of_stage, *(STAGES if stage == "all" else ()))):
        for key, value in tables.get(table, {}).items():
            option = key.replace("-", "_")
            layer = next(_layers(option, value), None)
            if layer is None or (option in given and table in of_stage):
                continue
            flag = "--" + option.replace("_", "-")
            fitting = (
                "all, norm, head and blocks:N fit"
                if option == "unfreeze"
                else f"{BLOCKS} and {TOP} fit"
            )
            cure = f"give {flag} for {asked.name}" if table in of_stage else "write a recipe for it"
            raise InputError(
                f"{source}: [{table}] {key} names the layer {layer!r} of {own.name}, received "
                f"backbone {asked.name}; {cure} ({fitting} any backbone)"
            )


def _layers(option: str, value: Any) -> Iterator[str]:
    """The layers that an option's value names, without words that mean some of any backbone."""
    if option == "unfreeze" and not re.fullmatch(r"auto|all|norm|head|(blocks:)?\d+", str(value)):
        yield value
    elif option in CUTS and isinstance(value, list):
        yield from (name for name in map(str, value) if name not in ("", BLOCKS, TOP))
    elif option == "grid" and isinstance(value, list):
        for name, _, listed in (str(word).partition("=") for word in value):
            if name.strip().replace("-", "_") in CUTS:
                yield from _layers("cut", [one.strip() for one in re.split("[,+]", listed)])
