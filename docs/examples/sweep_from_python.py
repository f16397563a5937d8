"""Many heads at once from Python: a bank of linear heads over learning rates and penalties.

    python docs/examples/sweep_from_python.py

`transfer sweep` does this with rungs, a journal and pictures; this is the part underneath.
"""

from itertools import product

import numpy as np

import transfer

images = transfer.load(transfer.DataOptions("digits", limit_per_class=40))
options = transfer.BackboneOptions("EfficientNetLite0", image_size=64, cut=("block5c_add",))
(features,) = transfer.extract(images, options).values()


def samples(split: str) -> transfer.Samples:
    """The rows of one split."""
    rows = np.flatnonzero(images.split == split)
    return transfer.Samples(features[rows], images.labels[rows])


train, val, test = (samples(name) for name in ("train", "val", "test"))
designs = [
    transfer.Design(
        transfer.HeadOptions(l2=l2),
        transfer.FitOptions(learning_rate=rate, epochs=10),
    )
    for rate, l2 in product(np.geomspace(3e-4, 3e-2, 6).tolist(), (0.0, 0.001, 0.01, 0.1))
]
bank = transfer.HeadBank(
    designs,
    *transfer.feature_statistics(train.features),
    feature_shape=train.features.shape[1:],
    num_classes=len(images.class_names),
)
bank.fit(train, val, epochs=10)

# Choose on validation: accuracy first, then loss.
bests = [bank.fitted(number).best for number in range(len(designs))]
ranking = sorted(
    range(len(designs)), key=lambda n: (-bests[n]["val_accuracy"], bests[n]["val_loss"])
)
print(f"{len(designs)} heads in {bank.seconds.sum():.1f} s")
for number in ranking[:3]:
    rate, l2 = designs[number].fit.learning_rate, designs[number].head.l2
    print(f"learning rate {rate:.2g}, l2 {l2}: val accuracy {bests[number]['val_accuracy']:.4f}")

# The winner meets the test split once.
probabilities = bank.head(ranking[0]).predict(test.features, verbose=0)
scores = transfer.evaluate(probabilities, test.labels, images.class_names, "test")
print(f"test accuracy {scores.accuracy:.4f}")
