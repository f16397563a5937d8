"""Which layer? Features from a cut of your own choice, against the top of the network.

    python docs/examples/own_cut.py

Names the backbone's layers, takes two of them in one pass, and gives each a linear head.
"""

import numpy as np

import transfer

CUTS = ("block5c_add", "top")

options = transfer.BackboneOptions("EfficientNetLite0", image_size=64, cut=CUTS)
backbone = transfer.build_backbone(options)
sums = [layer.name for layer in backbone.layers if layer.name.endswith("_add")]
print(f"{len(backbone.layers)} layers; residual sums: {', '.join(sums)}")

images = transfer.load(transfer.DataOptions("digits", limit_per_class=40, val_fraction=0.25))
features = transfer.extract(images, options)
train, val = (np.flatnonzero(images.split == name) for name in ("train", "val"))


def val_accuracy(cut: str) -> float:
    """What a linear head on one cut reaches in validation."""
    values = features[cut]
    head = transfer.build_head(
        transfer.HeadOptions(),
        *transfer.feature_statistics(values[train]),
        feature_shape=values.shape[1:],
        num_classes=len(images.class_names),
    )
    fitted = transfer.fit_head(
        head,
        values[train],
        images.labels[train],
        values[val],
        images.labels[val],
        transfer.FitOptions(epochs=10, learning_rate=0.01),
    )
    return fitted.best["val_accuracy"]


for cut, values in features.items():
    print(f"{cut}: {values.shape[1]:,} features, val accuracy {val_accuracy(cut):.4f}")
