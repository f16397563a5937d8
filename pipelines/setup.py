"""What all stages share: which images, which backbone, where results go."""

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from cache import FORMAT_VERSION, FeatureSpec, entry_path
from transfer.backbones import BackboneOptions, cut_patterns, find_backbone, weights_digest
from transfer.preprocessing import VERSION as PREPROCESSING_VERSION
from transfer.resizing import INTERPOLATION
from transfer.sources import DataOptions, data_name, digest


@dataclass(frozen=True)
class Setup:
    """Images, backbone, and the folder of results."""

    data: DataOptions = field(default_factory=DataOptions)
    backbone: BackboneOptions = field(default_factory=BackboneOptions)
    recipe: str | None = None
    """A recipe's name, or the path of a .toml file: it fills the options, flags override it."""
    artifacts: Path = Path("artifacts")
    """Folder for everything that is written."""
    run: str | None = None
    """Name of the folder under artifacts/runs; by default the recipe, or data and backbone."""
    extract_batch_size: int = 64
    """Images that the frozen backbone sees at a time; changes speed and memory, no value."""

    @property
    def run_folder(self) -> Path:
        """Where heads, classifiers, scores and pictures of this run go."""
        recipe = Path(self.recipe).stem if self.recipe else None
        name = self.run or recipe or f"{data_name(self.data)}-{self.backbone.backbone}".lower()
        return self.artifacts / "runs" / name

    @property
    def feature_store(self) -> Path:
        """Folder of the feature files."""
        return self.artifacts / "features"

    def feature_path(self, spec: FeatureSpec) -> Path:
        """Where the feature file of a spec lies, whether it exists or not."""
        return entry_path(self.feature_store, spec.key)

    def spec(self) -> FeatureSpec:
        """What the features are made from; reads the data's and the weights' digests."""
        backbone = find_backbone(self.backbone.backbone)
        return FeatureSpec(
            data=digest(self.data),
            limit_per_class=self.data.limit_per_class,
            val_fraction=self.data.val_fraction,
            test_fraction=self.data.test_fraction,
            bad_images=self.data.bad_images,
            backbone=backbone.name,
            weights=weights_digest(self.backbone),
            alpha=self.backbone.alpha,
            image_size=self.backbone.resolved_image_size(),
            interpolation=INTERPOLATION,
            preprocessing=f"{backbone.preprocessing}-{PREPROCESSING_VERSION}",
            cuts=cut_patterns(self.backbone),
            pooling=self.backbone.pooling,
            precision="float32",
            dtype="float32",
            keras=".".join(version("keras").split(".")[:2]),
            format_version=FORMAT_VERSION,
        )
