"""Align an encoder across languages by Translation Pair Prediction (TPP).

With the paper's recipe, on one set of translation pairs:

    accelerate launch examples/run_tpp.py \\
        --config tpp_one \\
        --model_name_or_path google-bert/bert-base-multilingual-uncased \\
        --translation_pairs pairs/tatoeba --output_dir mbert-tpp

On two sets, one after the other (schedule BP); the same command goes on after a stage that has
ended:

    accelerate launch examples/run_tpp.py \\
        --config tpp_bp \\
        --model_name_or_path google-bert/bert-base-multilingual-uncased --output_dir mbert-tpp-bp

On all pairs of languages, small ones up-sampled (schedule ALL), with another loss:

    accelerate launch examples/run_tpp.py \\
        --config tpp_all --tpp_loss contrastive \\
        --model_name_or_path FacebookAI/xlm-roberta-base \\
        --translation_pairs pairs/all --output_dir xlmr-tpp

Few weights in place of all (LoRA; `pip install 'twhin_hf[peft]'`); what is saved is an adapter:

    accelerate launch examples/run_tpp.py \\
        --config tpp_one --lora --learning_rate 1e-3 \\
        --model_name_or_path FacebookAI/xlm-roberta-base \\
        --translation_pairs pairs/tatoeba --output_dir xlmr-tpp-adapter

`--help` lists all options; each may stand in the YAML file too, where an unknown key is an error.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from twhin_hf.commands.cli import main

    sys.exit(main(["tpp", *sys.argv[1:]]))
