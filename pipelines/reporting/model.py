"""The part of a page on the classifiers themselves: layers, what is trained, sizes."""

from typing import Any

from pipelines.model_names import HEAD, TUNED, picture_names
from pipelines.models import CLASSIFIER, FINETUNED
from pipelines.pages.charts import Chart, picture
from pipelines.reporting.left import Left


def model(left: Left) -> dict[str, Any] | None:
    """What this part shows; None before there is a head."""
    if left.head is None:
        return None
    networks = (left.evaluation or {}).get("networks", {})
    endings = picture_names(networks)
    files = {HEAD: left.folder / CLASSIFIER, TUNED: left.folder / FINETUNED}
    return {
        "networks": [
            {
                "name": name,
                **network,
                "bytes": files[name].stat().st_size if name in files else None,
                "picture": _picture(left, name, endings[name], network),
            }
            for name, network in networks.items()
        ],
        "file": str(left.folder / CLASSIFIER),
    }


def _picture(left: Left, name: str, ending: str, network: dict[str, int]) -> Chart | None:
    alt = f"The layers of {name}"
    if network:
        alt += f", {network['trained']:,} of {network['parameters']:,} parameters trained"
    return picture(left.folder / f"architecture-{ending}.png", alt)
