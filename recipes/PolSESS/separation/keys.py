"""Which keys of a hparams file make a run what it is."""

# Values of these types are compared; others are objects that the keys build.
PLAIN = (str, int, float, list, type(None))

# Keys that may change while a run goes on; any other needs a new output_folder.
FREE_KEYS = (
    "data_folder",
    "source_list",
    "corpus",
    "embedded_folder",
    "embedded_items",
    "output_folder",
    "save_folder",
    "strict",
    "verify_audio",
    "skip_prep",
    "pack",
    "compile",
    "activation_checkpointing",
    "scan_engine",
    "test_only",
    "tensorboard",
    "wandb",
    "N_epochs",
    "early_stop_patience",
    "num_workers",
    "nonfinite_patience",
    "ckpt_interval_steps",
    "test_batch_size",
)
