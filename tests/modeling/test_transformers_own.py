"""The tests that transformers has for each of its models, on all of our classes.

They are those of the installed version: `make test` takes them from its source distribution. None
is left out. What they skip by themselves, they skip on the stock classes too (what needs a GPU,
DeepSpeed, or generates text), but for one: `test_eager_matches_sdpa_inference_…_output_attentions`
looks for `output_attentions` in the annotation of `**kwargs`, which ours are not; attentions are
compared with those of the stock classes in `test_stock_interface.py`.
"""

import importlib
import sys
import types
import unittest
from pathlib import Path

import pytest
import torch
import transformers

from twhin_hf.loading.families import MODELS, PRETRAINING_MODELS

FOLDER = Path(sys.prefix, "transformers-tests", f"transformers-{transformers.__version__}", "tests")
if not FOLDER.is_dir():
    pytest.skip(
        f"there are no tests of transformers {transformers.__version__} in {sys.prefix}: "
        "`make test` brings them",
        allow_module_level=True,
    )


def model_tester_mixin():
    """`ModelTesterMixin`, whose module stands in a package with tests of generation and exporters.

    These are of no matter here, and are not in the source distribution.
    """
    package = types.ModuleType("transformers_tests")
    package.__path__ = [str(FOLDER)]
    sys.modules[package.__name__] = package
    for name, mixin in (
        ("generation.test_utils", "GenerationTesterMixin"),
        ("exporters.test_export", "ExportTesterMixin"),
    ):
        folder = types.ModuleType(f"{package.__name__}.{name.split('.')[0]}")
        folder.__path__ = []
        module = types.ModuleType(f"{package.__name__}.{name}")
        setattr(module, mixin, type(mixin, (), {}))
        sys.modules |= {folder.__name__: folder, module.__name__: module}
    tests = importlib.import_module("transformers_tests.test_modeling_common")
    # By these names the tests know which classes have what: ours are known as the stock ones are.
    for mapping, classes in (
        ("MODEL_MAPPING_NAMES", MODELS),
        ("MODEL_FOR_MASKED_LM_MAPPING_NAMES", PRETRAINING_MODELS),
    ):
        names = {f"twhin-{family}": one.__name__ for family, one in classes.items()}
        setattr(tests, mapping, getattr(tests, mapping) | names)
    return tests.ModelTesterMixin


class Tester:
    """What the mixin asks of a tester: a small config, and inputs."""

    batch_size, seq_length, hidden_size = 4, 7, 32
    num_hidden_layers, num_attention_heads = 2, 4

    is_training = True

    def __init__(self, family):
        self.family = family

    def get_config(self):
        special = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
        if self.family == "modernbert":
            special |= {"cls_token_id": 0, "sep_token_id": 2}
        return MODELS[self.family].config_class(
            vocab_size=99,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            max_position_embeddings=40,
            **{"hidden_dim" if self.family == "distilbert" else "intermediate_size": 37},
            **special,
        )

    def prepare_config_and_inputs_for_common(self, model_class=None):
        rows = (self.batch_size, self.seq_length)
        mask = torch.ones(rows, dtype=torch.long)
        mask[1, 4:] = 0
        ids = torch.randint(5, 99, rows)
        return self.get_config(), {"input_ids": ids, "attention_mask": mask}

    prepare_config_and_inputs_for_model_class = prepare_config_and_inputs_for_common


class OwnTests(model_tester_mixin()):
    def setUp(self):
        torch.manual_seed(0)
        self.model_tester = Tester(self.family)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if "labels" in inputs:
            # The social loss beside MLM, so that all parameters get a gradient.
            inputs["post_ids"] = torch.arange(self.model_tester.batch_size)
        return inputs


for _family in MODELS:
    for _class in (MODELS[_family], PRETRAINING_MODELS[_family]):
        _name = f"Test{_class.__name__}"
        _fields = {"family": _family, "all_model_classes": (_class,), "__module__": __name__}
        globals()[_name] = type(_name, (OwnTests, unittest.TestCase), _fields)
del OwnTests
