"""Features in memory, a head on them, and its score: the way of a notebook, cell by cell.

    python docs/examples/features_in_a_notebook.py

Bundled digits, EfficientNet-Lite0 with ImageNet weights; nothing is written to disk.
"""

import transfer

# %% Images: a folder with one folder per class does as well as "digits".
images = transfer.load(transfer.DataOptions("digits", limit_per_class=40))
train, val, test = (images.split == name for name in ("train", "val", "test"))
print(f"{len(images)} images of {len(images.class_names)} classes")

# %% Features: the frozen backbone runs once. Where a stroke lies tells digits apart: flatten.
options = transfer.BackboneOptions(
    "EfficientNetLite0", image_size=64, cut=("block5c_add",), pooling="flatten"
)
(features,) = transfer.extract(images, options).values()
print(f"features {features.shape}, {features.dtype}")

# %% A head: standardised by training statistics, trained until validation stops improving.
mean, variance = transfer.feature_statistics(features[train])
head = transfer.build_head(
    transfer.HeadOptions(hidden=(256,), dropout=0.3),
    mean,
    variance,
    feature_shape=features.shape[1:],
    num_classes=len(images.class_names),
)
fitted = transfer.fit_head(
    head,
    features[train],
    images.labels[train],
    features[val],
    images.labels[val],
    transfer.FitOptions(epochs=10),
)
print(f"validation accuracy {fitted.best['val_accuracy']:.4f} in epoch {fitted.best_epoch + 1}")

# %% The last word: the test split, once.
probabilities = head.predict(features[test], verbose=0)
scores = transfer.evaluate(probabilities, images.labels[test], images.class_names, "test")
print(f"test accuracy {scores.accuracy:.4f}")
