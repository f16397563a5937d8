"""The table of stages."""

STAGES = {
    "features": ("FeaturesStage", "run the frozen backbone once, keep its features in HDF5"),
    "head": ("HeadStage", "train a head on the features, export a classifier"),
    "rates": ("RatesStage", "try many learning rates in one pass, suggest one"),
    "sweep": ("SweepStage", "train hundreds of heads at once, keep the best"),
    "finetune": ("FinetuneStage", "unfreeze and train end to end from the head"),
    "evaluate": ("EvaluateStage", "scores and pictures of head and fine-tuned model"),
    "compare": ("CompareStage", "runs side by side: which is surely better, and on which images"),
    "predict": ("PredictStage", "name the classes of images with a saved classifier"),
    "serve": ("ServeStage", "a page on this machine that says of an image what it shows, and why"),
    "export": ("ExportStage", "write a classifier for other runtimes, compared with itself"),
    "bench-model": ("BenchModelStage", "time models of any format side by side on this machine"),
    "audit": (
        "AuditStage",
        "find copies, leaks, wrong labels, odd pictures; say if images are enough",
    ),
    "report": ("ReportStage", "write one page of data, training, mistakes and model"),
    "structure": ("StructureStage", "sort a flat folder of images into class folders"),
    "backbones": ("BackbonesStage", "list backbones, show the blocks of one and what each costs"),
    "cache": ("CacheStage", "list, show, verify, mend, remove and prune feature files"),
    "doctor": ("DoctorStage", "say what this machine has, and whether the demo can run"),
    "all": ("AllStages", "features, head, fine-tune, evaluate, report, and a table of them"),
}
"""Stage, the dataclass of its options, what it does."""


def module_of(stage: str) -> str:
    """The module that has a stage's options and its `run`."""
    return f"pipelines.{stage.replace('-', '_')}"
