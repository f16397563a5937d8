"""What all stages share: which images, which backbone, where results go."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from cache import FORMAT_VERSION, FeatureSpec, entry_path
from pipelines.machine.file_index import FileIndex, index_path
from pipelines.machine.image_index import ImageIndex
from pipelines.machine.image_table import ImageTable
from pipelines.machine.parallel import Backend
from pipelines.run_names import absolute, check_name, check_utf8, default_name
from transfer.backbones.cuts import cut_patterns
from transfer.backbones.options import BackboneOptions
from transfer.backbones.preprocessing import VERSION as PREPROCESSING_VERSION
from transfer.backbones.resizing import INTERPOLATION
from transfer.backbones.table import find_backbone
from transfer.backbones.weights import weights_digest
from transfer.errors import InputError
from transfer.extraction.engines import EngineKind, Precision, check_engine
from transfer.images.groups import is_csv
from transfer.images.imageset import ImageSet
from transfer.images.sources import DataOptions, digest, ignore, load_as_given
from transfer.images.texts import TextArray


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
    """Name of the folder under artifacts/runs; by default the recipe's, or of data, backbone and
    some digits of the data's path. A run that is there gives the options that no flag gives; stages
    after features go on with the last run unless other data or another backbone are named."""
    engine: EngineKind = "auto"
    """What runs the frozen backbone: Keras, or on a CPU OpenVINO, up to three times as fast, which
    auto takes for 2,000 images and more if the package openvino is installed. Features differ by
    rounding alone: both are compared on the first images."""
    precision: Precision | Literal["auto"] = "float32"
    """Arithmetic of the frozen backbone: bfloat16 is fast on accelerators and, with --engine
    openvino, on CPUs that have it; int8 on CPUs (it needs the packages openvino and nncf). Both
    change features, and have files of their own. auto takes the fastest whose head, on some
    training images not seen, is within one standard error of float32's."""
    extract_batch_size: int | None = None
    """Images that the frozen backbone sees at a time; by default 64, 512 on an accelerator. Changes
    speed and memory, no value; where memory runs out it is halved."""
    jobs: int = 1
    """Processes at a time, for parts of the features or groups of a sweep's heads. A dask cluster
    that is there already uses all its workers."""
    parallel: Backend = "loky"
    """Where they run if there are several: on this machine, on a dask or on a ray cluster."""
    storage: Literal["float32", "float16"] = "float32"
    """How features are kept: float16 halves them, rounds them to 3 digits, and is refused where
    one would be above 65504."""
    compression: Literal["none", "zstd"] = "none"
    """How new feature files are compressed; zstd needs the package hdf5plugin and leaves 70 % of
    them. Values stay the same, reading is slower."""
    seal: Literal["auto", "copy", "reference"] = "auto"
    """What becomes of the parts in which features are written: they are copied into one file, or it
    refers to them, which takes no time and half of the disk. auto refers beyond 64 GiB."""
    memory_budget: float | None = None
    """GiB of features to hold in memory while heads train; more are streamed from the file. By
    default half of what is free."""
    rehash: bool = False
    """Read all images again to see whether they changed, also where size and times did not."""
    replace: bool = False
    """Go ahead where the run was made from other data, whose results are then replaced."""

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        for flag, path in (
            ("data", self.data.data),
            ("group", self.data.group),
            ("weights", self.backbone.weights),
        ):
            check_utf8(f"--{flag}", path or "")
        if self.precision != "auto":
            check_engine(self.engine, self.precision)
        if self._named:
            check_name(self._named)
        if (self.seal, self.compression) == ("reference", "zstd"):
            raise InputError(
                "--seal reference expects --compression none, received zstd: parts are not "
                "compressed; choose one of the two"
            )
        if self.jobs < 1:
            raise InputError(f"--jobs expects at least 1, received {self.jobs}")
        if self.extract_batch_size is not None and self.extract_batch_size < 1:
            raise InputError(
                f"--extract-batch-size expects at least 1, received {self.extract_batch_size}"
            )
        if self.memory_budget is not None and not self.memory_budget > 0:
            raise InputError(f"--memory-budget expects GiB above 0, received {self.memory_budget}")

    @property
    def arithmetic(self) -> Precision:
        """The precision, where it is settled.

        Raises:
            ValueError: If it is not: `pipelines.extracting.arithmetic.settled` does that.
        """
        if self.precision == "auto":
            raise ValueError('expected a settled precision, received "auto"; see `settled`')
        return self.precision

    def _precision(self) -> str:
        """What of the arithmetic changes values: where it rounds, also the packages that do so."""
        names: tuple[str, ...] = ("nncf", "openvino") if self.arithmetic == "int8" else ()
        if (self.arithmetic, self.engine) == ("bfloat16", "openvino"):
            names = ("openvino",)
        try:
            versions = [f"{name} {_minor(name)}" for name in names]
        except PackageNotFoundError as error:
            raise InputError(
                f"--precision {self.arithmetic} expects the package {error.name}, found none; "
                f"pip install {' '.join(names)}"
            ) from None
        return ", ".join([self.arithmetic, *versions])

    def with_absolute_paths(self) -> "Setup":
        """The same for a process that works in another folder, or on another machine."""
        group, weights = self.data.group, self.backbone.weights
        root = None if self.data.images_root is None else absolute(self.data.images_root)
        if group is not None and is_csv(group):
            group = str(Path(group).expanduser().resolve())
        if weights not in ("imagenet", "none"):
            weights = str(Path(weights).resolve())
        return replace(
            self,
            data=replace(self.data, data=absolute(self.data.data), images_root=root, group=group),
            backbone=replace(self.backbone, weights=weights),
            artifacts=self.artifacts.resolve(),
        )

    @property
    def run_folder(self) -> Path:
        """Where heads, classifiers, scores and pictures of this run go."""
        return self.runs / (self._named or default_name(self.data, self.backbone.backbone))

    @property
    def runs(self) -> Path:
        """Folder of all runs."""
        return self.artifacts / "runs"

    @property
    def _named(self) -> str | None:
        """The run's name where somebody gave it one."""
        return self.run or (Path(self.recipe).stem if self.recipe else None)

    @property
    def feature_store(self) -> Path:
        """Folder of the feature files."""
        return self.artifacts / "features"

    def feature_path(self, spec: FeatureSpec) -> Path:
        """Where the feature file of a spec lies, whether it exists or not."""
        return entry_path(self.feature_store, spec.key)

    def file_index(self, data: str) -> FileIndex:
        """Digests of files, remembered from run to run; only changed files are read."""
        return FileIndex(self._index_path(data, "files"), self.rehash)

    def images(self) -> ImageSet:
        """The images with the splits that are given; what tars hold is remembered.

        Raises:
            InputError: As `load_as_given`.
        """
        path = self._index_path(self.data.data, "rows")
        return load_as_given(self.data, ImageTable(path, self.rehash))

    def image_index(self, ids: TextArray) -> ImageIndex:
        """Digests of images in an archive, remembered from run to run."""
        path = self._index_path(self.data.data, "images")
        return ImageIndex(path, digest(self.data, self.file_index(self.data.data)), ids)

    def _index_path(self, data: str, kind: str) -> Path:
        return index_path(self.artifacts / "index", data, kind)

    def spec(self, left_out: Callable[[Mapping[str, int]], None] = ignore) -> FeatureSpec:
        """What the features are made from; reads the data's and the weights' digests.

        Args:
            left_out: Told what lies beside the images, as in `sources.digest`.
        """
        backbone = find_backbone(self.backbone.backbone)
        return FeatureSpec(
            data=digest(self.data, self.file_index(self.data.data), left_out),
            limit_per_class=self.data.limit_per_class,
            bad_images=self.data.bad_images,
            decoding=self.data.decoding.in_words(),
            backbone=backbone.name,
            weights=weights_digest(self.backbone, self.file_index(self.backbone.weights)),
            alpha=self.backbone.alpha,
            image_size=self.backbone.resolved_image_size(),
            interpolation=INTERPOLATION,
            preprocessing=f"{backbone.preprocessing}-{PREPROCESSING_VERSION}",
            cuts=cut_patterns(self.backbone),
            pooling=self.backbone.pooling,
            views=self.backbone.views,
            precision=self._precision(),
            dtype=self.storage,
            keras=_minor("keras"),
            format_version=FORMAT_VERSION,
        )


def _minor(package: str) -> str:
    """The package's version, of which only two numbers may change values."""
    return ".".join(version(package).split(".")[:2])


def flags_for(wanted: Mapping[str, Any], given: BackboneOptions) -> str:
    """The flags that make the options given those wanted; empty if they are.

    Args:
        wanted: Options of a backbone, tuples or lists; what is missing is as given.
        given: Those of now.
    """
    flags = []
    for name, value in asdict(given).items():
        listed, theirs = (
            list(one) if isinstance(one, tuple | list) else [one]
            for one in (value, wanted.get(name, value))
        )
        if listed != theirs:
            flags.append(" ".join(["--" + name.replace("_", "-"), *map(str, theirs)]))
    return " ".join(flags)
