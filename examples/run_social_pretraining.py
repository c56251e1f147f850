"""Pretrain an encoder of posts: MLM (stage 1), and MLM with the social loss (stage 2).

From scratch, then on pairs, with the paper's recipe:

    twhin-hf tokenizer --posts posts.parquet --output tokenizer
    accelerate launch examples/run_social_pretraining.py \\
        --config twhin_bert_base_mlm \\
        --config_name bert --tokenizer_name tokenizer \\
        --posts posts.parquet --output_dir stage1

    accelerate launch examples/run_social_pretraining.py \\
        --config twhin_bert_base \\
        --model_name_or_path stage1 \\
        --posts posts.parquet --pairs pairs.parquet --output_dir stage2

From a released checkpoint, on your own pairs:

    accelerate launch examples/run_social_pretraining.py \\
        --config twhin_bert_base \\
        --model_name_or_path Twitter/twhin-bert-base \\
        --posts posts.parquet --pairs pairs.parquet --output_dir my-twhin

With translation pairs too, every second batch (Translation Pair Prediction, `run_tpp.py`):

    accelerate launch examples/run_social_pretraining.py \\
        --config twhin_bert_base \\
        --model_name_or_path stage1 --posts posts.parquet --pairs pairs.parquet \\
        --translation_pairs pairs/tatoeba --translation_proportion 0.5 --output_dir joint

Few weights in place of all (LoRA; `pip install 'twhin_hf[peft]'`); what is saved is an adapter:

    accelerate launch examples/run_social_pretraining.py \\
        --config twhin_bert_base --lora --learning_rate 1e-3 \\
        --model_name_or_path Twitter/twhin-bert-base \\
        --posts posts.parquet --pairs pairs.parquet --output_dir my-adapter

`--help` lists all options; each may stand in the YAML file too, where an unknown key is an error.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from twhin_hf.commands.cli import main

    sys.exit(main(["pretrain", *sys.argv[1:]]))
